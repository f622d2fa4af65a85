import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray, timeArray } from '../../array-text.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { CreditAlert } from './credit-alert.ts'

/** Stores those that nobody told before, and answers these. */
export async function insertCreditAlerts(
  tx: TenantTransaction,
  alerts: readonly CreditAlert[],
): Promise<CreditAlert[]> {
  const { rows } = await tx.query<{ id: string }>(
    `INSERT INTO credit_alerts (tenant_id, id, customer_id, grant_id, level, base_minor, used_minor, available_minor,
       currency, fired_at)
     SELECT app_tenant(), one.*
     FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[],
       $9::timestamptz[]) AS one
     ON CONFLICT (tenant_id, customer_id, grant_id, level) DO NOTHING RETURNING id`,
    [
      idArray(alerts.map((alert) => alert.id)),
      idArray(alerts.map((alert) => alert.customerId)),
      idArray(alerts.map((alert) => alert.grantId)),
      textArray(alerts.map((alert) => alert.level)),
      plainArray(alerts.map((alert) => alert.baseMinor)),
      plainArray(alerts.map((alert) => alert.usedMinor)),
      plainArray(alerts.map((alert) => alert.availableMinor)),
      textArray(alerts.map((alert) => alert.currency)),
      timeArray(alerts.map((alert) => alert.firedAtMs)),
    ],
  )
  const fresh = new Set(rows.map(({ id }) => id))
  return alerts.filter(({ id }) => fresh.has(id))
}

type AlertRow = {
  id: string
  customer_id: string
  customer_key: string
  grant_id: string
  level: string
  base_minor: string
  used_minor: string
  available_minor: string
  currency: string
  fired_at: Date
}

/** The newest first. A customer that is not there has none. */
export async function listCreditAlerts(
  tx: TenantTransaction,
  filter: { customer: string | null },
  page: Page,
): Promise<CreditAlert[]> {
  const { rows } = await tx.query<AlertRow>(
    `SELECT a.id, a.customer_id, c.external_key AS customer_key, a.grant_id, a.level, a.base_minor, a.used_minor,
       a.available_minor, a.currency, a.fired_at
     FROM credit_alerts a JOIN customers c ON c.tenant_id = a.tenant_id AND c.id = a.customer_id
     WHERE ($1::text IS NULL OR a.customer_id = (
         SELECT k.id FROM customers k WHERE k.id = $2::uuid OR k.external_key = $1
         ORDER BY k.id = $2::uuid DESC NULLS LAST LIMIT 1))
       AND ($3::uuid IS NULL OR a.id < $3)
     ORDER BY a.id DESC LIMIT $4`,
    [filter.customer, idOrNull(filter.customer ?? ''), page.after, page.limit],
  )
  return rows.map((row) => ({
    id: row.id,
    customerId: row.customer_id,
    customerKey: row.customer_key,
    grantId: row.grant_id,
    level: row.level,
    baseMinor: BigInt(row.base_minor),
    usedMinor: BigInt(row.used_minor),
    availableMinor: BigInt(row.available_minor),
    currency: row.currency,
    firedAtMs: row.fired_at.getTime(),
  }))
}
