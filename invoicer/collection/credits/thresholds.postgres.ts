import type { Pool } from 'pg'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray } from '../../array-text.ts'
import type { CreditThresholds } from './thresholds.ts'

/** In place of those before, and to be looked at now. */
export async function storeThresholds(
  tx: TenantTransaction,
  customerId: string,
  { used, remaining }: CreditThresholds,
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO credit_thresholds (tenant_id, customer_id, used, remaining, updated_at, next_look_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $4)
     ON CONFLICT (tenant_id, customer_id) DO UPDATE
     SET used = excluded.used, remaining = excluded.remaining, updated_at = excluded.updated_at,
       next_look_at = excluded.next_look_at`,
    [customerId, used, remaining, new Date(atMs)],
  )
}

/** Grants have been given: their customers' credit is to be looked at now, by `thresholds` where they have none yet. */
export async function watchCreditOf(
  tx: TenantTransaction,
  customerIds: readonly string[],
  { used, remaining }: CreditThresholds,
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO credit_thresholds (tenant_id, customer_id, used, remaining, updated_at, next_look_at)
     SELECT app_tenant(), c.id, $2, $3, $4, $4 FROM unnest($1::uuid[]) AS c (id) ORDER BY c.id
     ON CONFLICT (tenant_id, customer_id) DO UPDATE SET next_look_at = excluded.next_look_at`,
    [idArray([...new Set(customerIds)]), used, remaining, new Date(atMs)],
  )
}

export async function findThresholds(
  tx: TenantTransaction,
  customerId: string,
): Promise<(CreditThresholds & { updatedAtMs: number }) | undefined> {
  const { rows } = await tx.query<{ used: string[]; remaining: string[]; updated_at: Date }>(
    'SELECT used, remaining, updated_at FROM credit_thresholds WHERE customer_id = $1',
    [customerId],
  )
  return rows.map(({ updated_at: at, ...thresholds }) => ({ ...thresholds, updatedAtMs: at.getTime() }))[0]
}

/** Tenants with credit to look at, and since when; whose has waited longest first. */
export async function tenantsWithDueCredit(
  pool: Pool,
  atMs: number,
): Promise<{ tenantId: TenantId; dueSinceMs: number }[]> {
  const { rows } = await pool.query<{ tenant_id: TenantId; due_since: Date }>(
    'SELECT tenant_id, due_since FROM tenants_with_due_credit($1)',
    [new Date(atMs)],
  )
  return rows.map((row) => ({ tenantId: row.tenant_id, dueSinceMs: row.due_since.getTime() }))
}

export type ClaimedThresholds = CreditThresholds & { customerId: string; customerKey: string }

/** Takes those that were due by then and that no other process takes: they are due again at `againMs`. */
export async function claimThresholds(
  tx: TenantTransaction,
  dueMs: number,
  againMs: number,
  most: number,
): Promise<ClaimedThresholds[]> {
  const { rows } = await tx.query<{ customer_id: string; external_key: string; used: string[]; remaining: string[] }>(
    `WITH due AS MATERIALIZED (
       SELECT customer_id FROM credit_thresholds WHERE next_look_at <= $1
       ORDER BY next_look_at, customer_id LIMIT $3 FOR UPDATE SKIP LOCKED
     )
     UPDATE credit_thresholds t SET next_look_at = $2
     FROM due JOIN customers c ON c.tenant_id = app_tenant() AND c.id = due.customer_id
     WHERE t.tenant_id = app_tenant() AND t.customer_id = due.customer_id
     RETURNING t.customer_id, c.external_key, t.used, t.remaining`,
    [new Date(dueMs), new Date(againMs), most],
  )
  return rows.map(({ customer_id: customerId, external_key: customerKey, used, remaining }) => {
    return { customerId, customerKey, used, remaining }
  })
}

/** They are not looked at again before the next grant or change. */
export async function restThresholds(tx: TenantTransaction, customerIds: readonly string[]): Promise<void> {
  await tx.query("UPDATE credit_thresholds SET next_look_at = 'infinity' WHERE customer_id = ANY ($1::uuid[])", [
    idArray(customerIds),
  ])
}
