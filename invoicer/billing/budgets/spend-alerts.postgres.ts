import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray, timeArray } from '../../array-text.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { SpendAlert } from './spend-alert.ts'

/** Stores those that nobody told before, and answers these. */
export async function insertSpendAlerts(tx: TenantTransaction, alerts: readonly SpendAlert[]): Promise<SpendAlert[]> {
  const { rows } = await tx.query<{ id: string }>(
    `INSERT INTO spend_alerts (tenant_id, id, subscription_id, period_start, period_end, level, budget_minor, spent_minor,
       currency, fired_at)
     SELECT app_tenant(), one.*
     FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::bigint[], $7::bigint[],
       $8::text[], $9::timestamptz[]) AS one
     ON CONFLICT (tenant_id, subscription_id, period_start, level) DO NOTHING RETURNING id`,
    [
      idArray(alerts.map((alert) => alert.id)),
      idArray(alerts.map((alert) => alert.subscriptionId)),
      timeArray(alerts.map((alert) => alert.periodStartMs)),
      timeArray(alerts.map((alert) => alert.periodEndMs)),
      textArray(alerts.map((alert) => alert.level)),
      plainArray(alerts.map((alert) => alert.budgetMinor)),
      plainArray(alerts.map((alert) => alert.spentMinor)),
      textArray(alerts.map((alert) => alert.currency)),
      timeArray(alerts.map((alert) => alert.firedAtMs)),
    ],
  )
  const fresh = new Set(rows.map(({ id }) => id))
  return alerts.filter(({ id }) => fresh.has(id))
}

type AlertRow = {
  id: string
  subscription_id: string
  subscription_key: string
  customer_id: string
  customer_key: string
  level: string
  budget_minor: string
  spent_minor: string
  currency: string
  period_start: Date
  period_end: Date
  fired_at: Date
}

/** The newest first. A subscription that is not there has none. */
export async function listSpendAlerts(
  tx: TenantTransaction,
  filter: { subscription: string | null },
  page: Page,
): Promise<SpendAlert[]> {
  const { rows } = await tx.query<AlertRow>(
    `SELECT a.id, a.subscription_id, s.external_key AS subscription_key, s.customer_id, c.external_key AS customer_key,
       a.level, a.budget_minor, a.spent_minor, a.currency, a.period_start, a.period_end, a.fired_at
     FROM spend_alerts a
     JOIN subscriptions s ON s.tenant_id = a.tenant_id AND s.id = a.subscription_id
     JOIN customers c ON c.tenant_id = s.tenant_id AND c.id = s.customer_id
     WHERE ($1::text IS NULL OR a.subscription_id = (
         SELECT k.id FROM subscriptions k WHERE k.id = $2::uuid OR k.external_key = $1
         ORDER BY k.id = $2::uuid DESC NULLS LAST LIMIT 1))
       AND ($3::uuid IS NULL OR a.id < $3)
     ORDER BY a.id DESC LIMIT $4`,
    [filter.subscription, idOrNull(filter.subscription ?? ''), page.after, page.limit],
  )
  return rows.map((row) => ({
    id: row.id,
    subscriptionId: row.subscription_id,
    subscriptionKey: row.subscription_key,
    customerId: row.customer_id,
    customerKey: row.customer_key,
    level: row.level,
    budgetMinor: BigInt(row.budget_minor),
    spentMinor: BigInt(row.spent_minor),
    currency: row.currency,
    periodStartMs: row.period_start.getTime(),
    periodEndMs: row.period_end.getTime(),
    firedAtMs: row.fired_at.getTime(),
  }))
}
