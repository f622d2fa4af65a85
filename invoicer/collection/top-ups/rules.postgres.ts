import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray } from '../../array-text.ts'
import type { CreditScope } from '../credits/terms.ts'
import type { TopUpRule } from './top-up.ts'

type RuleRow = {
  customer_id: string
  currency: string
  threshold_minor: string
  amount_minor: string
  most_purchases: number
  per: TopUpRule['per']
  priority: number
  expires_after_days: number | null
  scope: CreditScope | null
  declines: number
  retry_at: Date | null
  suspended_at: Date | null
  reason: string | null
  updated_at: Date
}

const RULE = `
  SELECT customer_id, currency, threshold_minor, amount_minor, most_purchases, per, priority, expires_after_days, scope,
    declines, retry_at, suspended_at, reason, updated_at, removed_at
  FROM credit_top_up_rules`

/** In place of the one before; what was declined before is forgotten. */
export async function storeRule(tx: TenantTransaction, rule: TopUpRule): Promise<void> {
  await tx.query(
    `INSERT INTO credit_top_up_rules
       (tenant_id, customer_id, currency, threshold_minor, amount_minor, most_purchases, per, priority,
        expires_after_days, scope, updated_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     ON CONFLICT (tenant_id, customer_id) DO UPDATE
     SET threshold_minor = excluded.threshold_minor, amount_minor = excluded.amount_minor,
       most_purchases = excluded.most_purchases, per = excluded.per, priority = excluded.priority,
       expires_after_days = excluded.expires_after_days, scope = excluded.scope, updated_at = excluded.updated_at,
       declines = 0, retry_at = NULL, suspended_at = NULL, removed_at = NULL, reason = NULL`,
    [
      ...[rule.customerId, rule.currency, rule.thresholdMinor, rule.amountMinor, rule.mostPurchases, rule.per],
      ...[rule.priority, rule.expiresAfterDays, rule.scope === null ? null : JSON.stringify(rule.scope)],
      new Date(rule.updatedAtMs),
    ],
  )
}

export async function findRule(tx: TenantTransaction, customerId: string): Promise<TopUpRule | undefined> {
  const { rows } = await tx.query<RuleRow>(`${RULE} WHERE customer_id = $1 AND removed_at IS NULL`, [customerId])
  return rows.map(ruleFromRow)[0]
}

/** False where there was none. */
export async function markRemoved(tx: TenantTransaction, customerId: string, atMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    'UPDATE credit_top_up_rules SET removed_at = $2 WHERE customer_id = $1 AND removed_at IS NULL',
    [customerId, new Date(atMs)],
  )
  return rowCount === 1
}

export type TopUpThreshold = Pick<TopUpRule, 'currency' | 'thresholdMinor'>

/** Of the customers, those whose rule may buy at an instant, with its threshold. */
export async function listThresholds(
  tx: TenantTransaction,
  customerIds: readonly string[],
): Promise<Map<string, TopUpThreshold>> {
  const { rows } = await tx.query<Pick<RuleRow, 'customer_id' | 'currency' | 'threshold_minor'>>(
    `SELECT customer_id, currency, threshold_minor FROM credit_top_up_rules
     WHERE customer_id = ANY ($1::uuid[]) AND suspended_at IS NULL AND removed_at IS NULL`,
    [idArray(customerIds)],
  )
  return new Map(
    rows.map(({ customer_id: customerId, currency, threshold_minor: minor }) => [
      customerId,
      { currency, thresholdMinor: BigInt(minor) },
    ]),
  )
}

/** `isPaidFor`: by somebody else, whose credit is drawn instead. */
export type LockedRule = TopUpRule & { zone: string; isPaidFor: boolean }

/**
 * In one order everywhere, and before purchases: until the end of `tx` nobody else buys for these customers. Removed ones are
 * locked too, and not answered: one of their purchases may be settled while they are set anew.
 */
export async function lockRules(tx: TenantTransaction, customerIds: readonly string[]): Promise<LockedRule[]> {
  const { rows } = await tx.query<RuleRow & { timezone: string; is_paid_for: boolean }>(
    `WITH locked AS MATERIALIZED (
       ${RULE} WHERE customer_id = ANY ($1::uuid[]) ORDER BY customer_id FOR UPDATE
     )
     SELECT r.*, c.timezone, c.payer_id IS NOT NULL AS is_paid_for
     FROM locked r JOIN customers c ON c.tenant_id = app_tenant() AND c.id = r.customer_id
     WHERE r.removed_at IS NULL ORDER BY r.customer_id`,
    [idArray(customerIds)],
  )
  return rows.map((row) => ({ ...ruleFromRow(row), zone: row.timezone, isPaidFor: row.is_paid_for }))
}

/** Behind `lockRules`: what the results of purchases made of it. */
export async function keepDeclines(
  tx: TenantTransaction,
  { customerId, declines, retryAtMs, suspendedAtMs, reason }: TopUpRule,
): Promise<void> {
  await tx.query(
    `UPDATE credit_top_up_rules SET declines = $2, retry_at = $3, suspended_at = $4, reason = $5 WHERE customer_id = $1`,
    [...[customerId, declines], ...[retryAtMs, suspendedAtMs].map((ms) => (ms === null ? null : new Date(ms))), reason],
  )
}

function ruleFromRow(row: RuleRow): TopUpRule {
  return {
    customerId: row.customer_id,
    currency: row.currency,
    thresholdMinor: BigInt(row.threshold_minor),
    amountMinor: BigInt(row.amount_minor),
    mostPurchases: row.most_purchases,
    per: row.per,
    priority: row.priority,
    expiresAfterDays: row.expires_after_days,
    scope: row.scope,
    declines: row.declines,
    retryAtMs: row.retry_at?.getTime() ?? null,
    suspendedAtMs: row.suspended_at?.getTime() ?? null,
    reason: row.reason,
    updatedAtMs: row.updated_at.getTime(),
  }
}
