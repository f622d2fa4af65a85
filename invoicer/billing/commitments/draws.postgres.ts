import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray, timeArray } from '../../array-text.ts'
import type { ChangedUsage } from '../usage.ts'
import type { Draw } from './draw.ts'

/** `invoice_id` and `line_index` of an adjustment are those of the line that bills it, once there is one. */
export type StoredDraw = Draw & {
  subscriptionId: string
  ordinal: number
  revision: number
  invoiceId: string | null
  adjustment: { id: string; invoiceId: string | null; lineIndex: number | null } | null
}
type DrawRow = {
  subscription_id: string
  ordinal: number
  plan_id: string
  charge_key: string
  window_start: Date
  window_end: Date
  period_start: Date
  period_end: Date
  base_minor: string
  amount_minor: string
  rest_minor: string
  committed_minor: string
  served_until: Date
  revision: number
  invoice_id: string | null
  adjustment_id: string | null
  item_invoice_id: string | null
  item_line: number | null
  is_void: boolean
}

/** All that subscriptions drew, each in its order. */
export async function listDraws(tx: TenantTransaction, subscriptionIds: readonly string[]): Promise<StoredDraw[]> {
  const { rows } = await tx.query<DrawRow>(
    `SELECT d.*, t.invoice_id AS item_invoice_id, t.line_index AS item_line
     FROM commitment_draws d
     LEFT JOIN invoice_items t ON t.tenant_id = d.tenant_id AND t.kind = 'adjustment'
       AND t.subscription_id = d.subscription_id AND t.charge_key = d.charge_key AND t.period_start = d.period_start
       AND t.adjustment_id = d.adjustment_id
     WHERE d.subscription_id = ANY ($1::uuid[]) ORDER BY d.subscription_id, d.ordinal`,
    [idArray([...new Set(subscriptionIds)])],
  )
  return rows.map(drawFromRow)
}

/** How often each of these subscriptions drew by now; none: it is left out. */
export async function countDraws(
  tx: TenantTransaction,
  subscriptionIds: readonly string[],
): Promise<ReadonlyMap<string, number>> {
  const { rows } = await tx.query<{ subscription_id: string; count: number }>(
    `SELECT subscription_id, count(*)::integer AS count FROM commitment_draws
     WHERE subscription_id = ANY ($1::uuid[]) GROUP BY subscription_id`,
    [idArray([...new Set(subscriptionIds)])],
  )
  return new Map(rows.map((row) => [row.subscription_id, row.count]))
}

/** `revision` of its subscription as it was rated, by what was known before a moment. */
export type NewDraw = Draw & {
  subscriptionId: string
  invoiceId: string | null
  adjustmentId: string | null
  revision: number
  knownBeforeMs: number
}

/** Behind what the subscriptions drew before; their rows are locked by then. */
export async function insertDraws(tx: TenantTransaction, draws: readonly NewDraw[]): Promise<void> {
  if (draws.length === 0) return
  await tx.query(
    `INSERT INTO commitment_draws
       (tenant_id, subscription_id, ordinal, plan_id, charge_key, window_start, window_end, period_start, period_end,
        base_minor, amount_minor, rest_minor, committed_minor, served_until, revision, known_before, invoice_id,
        adjustment_id, is_void)
     SELECT app_tenant(), n.subscription_id,
       row_number() OVER (PARTITION BY n.subscription_id ORDER BY n.place) + (
         SELECT count(*) FROM commitment_draws d WHERE d.subscription_id = n.subscription_id),
       n.plan_id, n.charge_key, n.window_start, n.window_end, n.period_start, n.period_end, n.base_minor, n.amount_minor,
       n.rest_minor, n.committed_minor, n.served_until, n.revision, n.known_before, n.invoice_id, n.adjustment_id, false
     FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
       $7::timestamptz[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::timestamptz[],
       $13::integer[], $14::timestamptz[], $15::uuid[], $16::uuid[])
       WITH ORDINALITY AS n (subscription_id, plan_id, charge_key, window_start, window_end, period_start, period_end,
         base_minor, amount_minor, rest_minor, committed_minor, served_until, revision, known_before, invoice_id,
         adjustment_id, place)`,
    [
      idArray(draws.map(({ subscriptionId }) => subscriptionId)),
      idArray(draws.map(({ planId }) => planId)),
      textArray(draws.map(({ chargeKey }) => chargeKey)),
      timeArray(draws.map(({ window }) => window.startMs)),
      timeArray(draws.map(({ window }) => window.endMs)),
      timeArray(draws.map(({ period }) => period.startMs)),
      timeArray(draws.map(({ period }) => period.endMs)),
      plainArray(draws.map(({ baseMinor }) => baseMinor)),
      plainArray(draws.map(({ amountMinor }) => amountMinor)),
      plainArray(draws.map(({ restMinor }) => restMinor)),
      plainArray(draws.map(({ committedMinor }) => committedMinor)),
      timeArray(draws.map(({ servedUntilMs }) => servedUntilMs)),
      plainArray(draws.map(({ revision }) => revision)),
      timeArray(draws.map(({ knownBeforeMs }) => knownBeforeMs)),
      idArray(draws.map(({ invoiceId }) => invoiceId)),
      idArray(draws.map(({ adjustmentId }) => adjustmentId)),
    ],
  )
}

/** Periods of an invoice that is void draw nothing any more. Behind the lock of its subscription. */
export async function insertVoidDraws(tx: TenantTransaction, invoiceId: string): Promise<void> {
  await tx.query(
    `INSERT INTO commitment_draws
       (tenant_id, subscription_id, ordinal, plan_id, charge_key, window_start, window_end, period_start, period_end,
        base_minor, amount_minor, rest_minor, committed_minor, served_until, revision, known_before, invoice_id, is_void)
     SELECT v.tenant_id, v.subscription_id, row_number() OVER (PARTITION BY v.subscription_id ORDER BY v.ordinal) + (
         SELECT count(*) FROM commitment_draws d WHERE d.subscription_id = v.subscription_id),
       v.plan_id, v.charge_key, v.window_start, v.window_end, v.period_start, v.period_end, 0, 0, 0,
       v.committed_minor, v.served_until, v.revision, v.known_before, v.invoice_id, true
     FROM commitment_draws v WHERE v.invoice_id = $1 AND NOT v.is_void`,
    [invoiceId],
  )
}

/**
 * Whether another period of their windows was billed, or corrected, behind one of these invoices, or lies behind it: what
 * that cost may rest on what this drew. What is among them itself does not count: they become void together.
 */
export async function areDrawsCountedOn(tx: TenantTransaction, invoiceIds: readonly string[]): Promise<boolean> {
  const { rows } = await tx.query<{ counted_on: boolean }>(
    `SELECT EXISTS (
       SELECT FROM commitment_draws o
       JOIN commitment_draws d ON d.tenant_id = o.tenant_id AND d.subscription_id = o.subscription_id
         AND d.plan_id = o.plan_id AND d.charge_key = o.charge_key
         AND d.period_start + (d.period_end - d.period_start) / 2 >= o.window_start
         AND d.period_start + (d.period_end - d.period_start) / 2 < o.window_end
         AND d.period_start <> o.period_start AND (d.ordinal > o.ordinal OR d.period_start > o.period_start)
       WHERE o.invoice_id = ANY ($1::uuid[]) AND NOT d.is_void AND NOT EXISTS (
         SELECT FROM commitment_draws v
         WHERE v.tenant_id = d.tenant_id AND v.subscription_id = d.subscription_id AND v.plan_id = d.plan_id
           AND v.charge_key = d.charge_key AND v.period_start = d.period_start AND v.ordinal > d.ordinal AND v.is_void)
         AND (d.invoice_id IS NULL OR d.invoice_id <> ALL ($1::uuid[]))) AS counted_on`,
    [idArray(invoiceIds)],
  )
  return rows[0]?.counted_on === true
}

/**
 * Windows that are to be rated again, though nothing of their usage came late: of which something is to be given back, those
 * of an invoice that is void since, and those that were not settled where their subscription was changed since. Each by a
 * subject of its customer.
 */
export async function listToSettle(tx: TenantTransaction): Promise<ChangedUsage[]> {
  const { rows } = await tx.query<{ subject: string; first_at: Date; last_at: Date }>(
    `WITH latest AS (
       SELECT DISTINCT ON (d.subscription_id, d.plan_id, d.charge_key, d.period_start) d.* FROM commitment_draws d
       ORDER BY d.subscription_id, d.plan_id, d.charge_key, d.period_start, d.ordinal DESC
     ), charges AS (
       SELECT subscription_id, max(window_end) AS last_at,
         min(window_start) FILTER (WHERE rest_minor <> 0) AS rest_at,
         (array_agg(CASE WHEN is_void THEN window_start END ORDER BY ordinal DESC))[1] AS void_at,
         (array_agg(revision ORDER BY ordinal DESC))[1] AS revision,
         (array_agg(window_start ORDER BY period_start DESC) FILTER (WHERE NOT is_void))[1] AS open_at,
         (array_agg(served_until ORDER BY period_start DESC) FILTER (WHERE NOT is_void))[1] AS served_until,
         max(period_end) FILTER (WHERE NOT is_void) AS billed_until
       FROM latest GROUP BY subscription_id, plan_id, charge_key
     ), asked AS (
       SELECT s.customer_id, c.last_at, least(c.rest_at, c.void_at,
         CASE WHEN s.revision > c.revision AND c.served_until > c.billed_until THEN c.open_at END) AS first_at
       FROM charges c JOIN subscriptions s ON s.tenant_id = app_tenant() AND s.id = c.subscription_id
     )
     SELECT k.subject, min(a.first_at) AS first_at, max(a.last_at) AS last_at
     FROM asked a
     CROSS JOIN LATERAL (
       SELECT subject FROM customer_subjects k WHERE k.tenant_id = app_tenant() AND k.customer_id = a.customer_id
       ORDER BY subject COLLATE "C" LIMIT 1
     ) AS k
     WHERE a.first_at IS NOT NULL
     GROUP BY k.subject`,
  )
  return rows.map((row) => ({
    subject: row.subject,
    firstMs: row.first_at.getTime(),
    lastMs: row.last_at.getTime() - 1,
  }))
}

function drawFromRow(row: DrawRow): StoredDraw {
  const { adjustment_id: adjustmentId, item_invoice_id: invoiceId, item_line: lineIndex } = row
  return {
    subscriptionId: row.subscription_id,
    ordinal: row.ordinal,
    revision: row.revision,
    planId: row.plan_id,
    chargeKey: row.charge_key,
    window: { startMs: row.window_start.getTime(), endMs: row.window_end.getTime() },
    period: { startMs: row.period_start.getTime(), endMs: row.period_end.getTime() },
    baseMinor: BigInt(row.base_minor),
    amountMinor: BigInt(row.amount_minor),
    restMinor: BigInt(row.rest_minor),
    committedMinor: BigInt(row.committed_minor),
    servedUntilMs: row.served_until.getTime(),
    invoiceId: row.invoice_id,
    adjustment: adjustmentId === null ? null : { id: adjustmentId, invoiceId, lineIndex },
    isVoid: row.is_void,
  }
}
