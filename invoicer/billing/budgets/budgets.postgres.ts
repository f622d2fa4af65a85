import type { Pool } from 'pg'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull } from '../../transaction.ts'
import type { Budget } from './levels.ts'

export type StoredBudget = Budget & { subscriptionId: string; updatedAtMs: number }
export type SubscriptionInCurrency = { id: string; currency: string }

type BudgetRow = {
  subscription_id: string
  currency: string
  amount_minor: string
  thresholds: string[]
  updated_at: Date
}

/** An id wins over an external key that looks like one. */
export async function findInCurrency(
  tx: TenantTransaction,
  idOrKey: string,
): Promise<SubscriptionInCurrency | undefined> {
  const { rows } = await tx.query<SubscriptionInCurrency>(
    `SELECT s.id, p.currency FROM subscriptions s JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id
     WHERE s.id = $1::uuid OR s.external_key = $2 ORDER BY s.id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows[0]
}

/** In place of the one before, and to be looked at now. */
export async function storeBudget(tx: TenantTransaction, budget: StoredBudget): Promise<void> {
  await tx.query(
    `INSERT INTO subscription_budgets (tenant_id, subscription_id, amount_minor, thresholds, updated_at, next_look_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $4)
     ON CONFLICT (tenant_id, subscription_id) DO UPDATE
     SET amount_minor = excluded.amount_minor, thresholds = excluded.thresholds, updated_at = excluded.updated_at,
       next_look_at = excluded.next_look_at`,
    [budget.subscriptionId, budget.amountMinor, budget.thresholds, new Date(budget.updatedAtMs)],
  )
}

export async function findBudget(
  tx: TenantTransaction,
  { id, currency }: SubscriptionInCurrency,
): Promise<StoredBudget | undefined> {
  const { rows } = await tx.query<Omit<BudgetRow, 'currency'>>(
    'SELECT subscription_id, amount_minor, thresholds, updated_at FROM subscription_budgets WHERE subscription_id = $1',
    [id],
  )
  return rows.map((row) => fromRow({ ...row, currency }))[0]
}

/** False if there was none. */
export async function deleteBudget(tx: TenantTransaction, subscriptionId: string): Promise<boolean> {
  const { rowCount } = await tx.query('DELETE FROM subscription_budgets WHERE subscription_id = $1', [subscriptionId])
  return rowCount === 1
}

/** Tenants with budgets to look at, and since when; whose has waited longest first. */
export async function tenantsWithDueBudgets(
  pool: Pool,
  atMs: number,
): Promise<{ tenantId: TenantId; dueSinceMs: number }[]> {
  const { rows } = await pool.query<{ tenant_id: TenantId; due_since: Date }>(
    'SELECT tenant_id, due_since FROM tenants_with_due_budgets($1)',
    [new Date(atMs)],
  )
  return rows.map((row) => ({ tenantId: row.tenant_id, dueSinceMs: row.due_since.getTime() }))
}

export type ClaimedBudget = StoredBudget & { subscriptionKey: string }

/** Longer than any grace: nothing of an ended subscription is open any more. */
const OPEN_AFTER_END_MS = 31 * 24 * 3_600_000

/**
 * Takes budgets that were due by then and that no other process takes: they are due again at `againMs`, those of
 * subscriptions that have not begun when they do, and those of ended ones only when they are set anew.
 */
export async function claimBudgets(
  tx: TenantTransaction,
  dueMs: number,
  againMs: number,
  most: number,
): Promise<ClaimedBudget[]> {
  const { rows } = await tx.query<BudgetRow & { external_key: string }>(
    `WITH due AS MATERIALIZED (
       SELECT subscription_id FROM subscription_budgets WHERE next_look_at <= $1
       ORDER BY next_look_at, subscription_id LIMIT $4 FOR UPDATE SKIP LOCKED
     )
     UPDATE subscription_budgets b
     SET next_look_at = CASE WHEN s.end_at < $3 THEN 'infinity' ELSE greatest($2::timestamptz, s.start_at) END
     FROM due
     JOIN subscriptions s ON s.tenant_id = app_tenant() AND s.id = due.subscription_id
     JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id
     WHERE b.tenant_id = app_tenant() AND b.subscription_id = due.subscription_id
     RETURNING b.subscription_id, s.external_key, p.currency, b.amount_minor, b.thresholds, b.updated_at`,
    [new Date(dueMs), new Date(againMs), new Date(againMs - OPEN_AFTER_END_MS), most],
  )
  return rows.map((row) => ({ ...fromRow(row), subscriptionKey: row.external_key }))
}

function fromRow(row: BudgetRow): StoredBudget {
  return {
    subscriptionId: row.subscription_id,
    amountMinor: BigInt(row.amount_minor),
    currency: row.currency,
    thresholds: row.thresholds,
    updatedAtMs: row.updated_at.getTime(),
  }
}
