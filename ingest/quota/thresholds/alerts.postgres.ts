import type { Visible } from '../../../schemas/http/scope.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatMicro } from '../limit.ts'
import { toldWithin } from '../rolling.ts'
import type { AlertAnswer, Reached } from './alert.ts'

/** Stores those that were not told before, in their order; answers their ids. */
export async function insertAlerts(
  tx: TenantTransaction,
  alerts: readonly (Reached & { id: string })[],
  firedAt: Date,
): Promise<Set<string>> {
  const column = (read: (alert: Reached & { id: string }) => unknown) => alerts.map(read)
  const iso = (ms: number) => new Date(ms).toISOString()
  const { rows } = await tx.query<{ id: string }>(
    `INSERT INTO quota_alerts (tenant_id, id, holder, of_customer, meter, feature, period, window_start, window_end, level,
       limit_quantity, used_quantity, fired_at)
     SELECT app_tenant(), one.*, $12::timestamptz
     FROM unnest($1::uuid[], $2::text[], $3::boolean[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
       $8::timestamptz[], $9::text[], $10::numeric[], $11::numeric[]) AS one
     ON CONFLICT (tenant_id, holder, of_customer, meter, feature, window_start, window_end, level) DO NOTHING
     RETURNING id`,
    [
      column(({ id }) => id),
      column(({ counter }) => counter.subject),
      column(({ counter }) => counter.ofCustomer === true),
      column(({ counter }) => counter.meter),
      column(({ limit }) => limit.feature),
      column(({ limit }) => limit.window),
      column(({ counter }) => iso(toldWithin(counter).startMs)),
      column(({ counter }) => iso(toldWithin(counter).endMs)),
      column(({ level }) => level.text),
      column(({ limit }) => formatMicro(limit.limitMicro)),
      column(({ usedMicro }) => formatMicro(usedMicro)),
      firedAt,
    ],
  )
  return new Set(rows.map(({ id }) => id))
}

/** The keys of customers, by their ids. */
export async function customerKeys(tx: TenantTransaction, ids: readonly string[]): Promise<Map<string, string>> {
  if (ids.length === 0) return new Map()
  const { rows } = await tx.query<{ id: string; key: string }>(
    'SELECT id, external_key AS key FROM customers WHERE id = ANY ($1::uuid[])',
    [ids],
  )
  return new Map(rows.map(({ id, key }) => [id, key]))
}

export type AlertsAsked = {
  subject?: string | undefined
  meter?: string | undefined
  /** The id of the last one of the page before. */
  before?: string | undefined
  limit: number
}

type AlertRow = Omit<AlertAnswer, 'starts_at' | 'resets_at' | 'fired_at'> & {
  starts_at: Date
  resets_at: Date
  fired_at: Date
}

/**
 * Alerts, the newest first. `visible` are the subjects whose own limits may be told, `customer` the only customer whose
 * shared ones may; undefined: all customers', null: none's. No join: under row-level security it would not use the key of
 * customers.
 */
export async function listAlerts(
  tx: TenantTransaction,
  { subject, meter, before, limit }: AlertsAsked,
  visible: Visible,
  customer: string | null | undefined,
): Promise<AlertAnswer[]> {
  const { rows } = await tx.query<AlertRow>(
    `SELECT id, feature, meter, CASE WHEN NOT of_customer THEN holder END AS subject,
       (SELECT external_key FROM customers WHERE customers.id = CASE WHEN of_customer THEN holder::uuid END) AS customer,
       level, trim_scale(limit_quantity)::text AS limit, trim_scale(used_quantity)::text AS used, period AS window,
       window_start AS starts_at, window_end AS resets_at, fired_at
     FROM quota_alerts
     WHERE CASE WHEN of_customer THEN $1::boolean OR holder = $2 ELSE $3::boolean OR holder = ANY ($4::text[]) END
       AND ($5::text IS NULL OR (holder = $5 AND NOT of_customer))
       AND ($6::text IS NULL OR meter = $6)
       AND ($7::uuid IS NULL OR id < $7)
     ORDER BY id DESC LIMIT $8`,
    [
      customer === undefined,
      customer ?? null,
      visible === 'everything',
      visible === 'everything' ? [] : visible,
      subject ?? null,
      meter ?? null,
      before ?? null,
      limit,
    ],
  )
  return rows.map((row) => ({
    ...row,
    starts_at: row.starts_at.toISOString(),
    resets_at: row.resets_at.toISOString(),
    fired_at: row.fired_at.toISOString(),
  }))
}
