import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray } from '../../array-text.ts'
import type { ToRate } from '../../billing/due.ts'
import { TO_RATE, type ToRateRow, toRateFromRow } from '../../billing/run/due.postgres.ts'

/**
 * What a customer's latest grant began: the balance right behind it, the balance now, and the levels told since. `grants`
 * is how many it ever had.
 */
export type CreditFill = {
  customerId: string
  grantId: string
  currency: string
  baseMinor: bigint
  balanceMinor: bigint
  grants: number
  told: string[]
}

/** Of those that were ever given credit. One statement: grant, balance and levels are of one moment. */
export async function listFills(
  tx: TenantTransaction,
  customerIds: readonly string[],
  atMs: number,
): Promise<CreditFill[]> {
  const { rows } = await tx.query<{
    customer_id: string
    grant_id: string
    currency: string
    base_minor: string
    balance_minor: string
    grants: number
    told: string[]
  }>(
    `SELECT c.id AS customer_id, latest.id AS grant_id, latest.currency, latest.balance_minor AS base_minor,
       (SELECT coalesce(sum(g.remaining_minor), 0)::bigint FROM credit_grants g
        WHERE g.customer_id = c.id AND g.remaining_minor > 0 AND (g.expires_at IS NULL OR g.expires_at > $2)
       ) AS balance_minor,
       (SELECT count(*)::integer FROM credit_grants g WHERE g.customer_id = c.id) AS grants,
       ARRAY(SELECT a.level FROM credit_alerts a WHERE a.customer_id = c.id AND a.grant_id = latest.id) AS told
     FROM unnest($1::uuid[]) AS c (id)
     CROSS JOIN LATERAL (SELECT g.id, g.currency, g.balance_minor FROM credit_grants g WHERE g.customer_id = c.id
                         ORDER BY g.created_at DESC, g.id DESC LIMIT 1) AS latest`,
    [idArray(customerIds), new Date(atMs)],
  )
  return rows.map((row) => ({
    customerId: row.customer_id,
    grantId: row.grant_id,
    currency: row.currency,
    baseMinor: BigInt(row.base_minor),
    balanceMinor: BigInt(row.balance_minor),
    grants: row.grants,
    told: row.told,
  }))
}

/** How many grants customers ever had; none: not in it. */
export async function countGrants(tx: TenantTransaction, customerIds: readonly string[]): Promise<Map<string, number>> {
  const { rows } = await tx.query<{ customer_id: string; grants: number }>(
    `SELECT customer_id, count(*)::integer AS grants FROM credit_grants WHERE customer_id = ANY ($1::uuid[])
     GROUP BY customer_id`,
    [idArray(customerIds)],
  )
  return new Map(rows.map((row) => [row.customer_id, row.grants]))
}

/** What waits to be gathered into an invoice of each of these customers; none: not in it. By an index that is empty for most. */
export async function sumWaitingParts(
  tx: TenantTransaction,
  customerIds: readonly string[],
): Promise<Map<string, bigint>> {
  const { rows } = await tx.query<{ customer_id: string; waiting_minor: string }>(
    `SELECT i.customer_id, sum(i.total_minor)::text AS waiting_minor
     FROM invoice_parts q JOIN invoices i ON i.tenant_id = q.tenant_id AND i.id = q.invoice_id
     WHERE q.consolidated_id IS NULL AND i.customer_id = ANY ($1::uuid[]) GROUP BY i.customer_id`,
    [idArray(customerIds)],
  )
  return new Map(rows.map((row) => [row.customer_id, BigInt(row.waiting_minor)]))
}

/** The subscriptions that customers pay for, their own or those of others, and that have begun a period without an invoice. */
export async function listUnbilled(
  tx: TenantTransaction,
  customerIds: readonly string[],
  atMs: number,
): Promise<ToRate[]> {
  const { rows } = await tx.query<ToRateRow>(
    `SELECT ${TO_RATE} FROM subscriptions s
     JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id
     JOIN customers c ON c.tenant_id = s.tenant_id AND c.id = s.customer_id
     WHERE ((c.id = ANY ($1::uuid[]) AND c.payer_id IS NULL) OR c.payer_id = ANY ($1::uuid[])) AND s.next_period_start <= $2`,
    [idArray(customerIds), new Date(atMs)],
  )
  return rows.map(toRateFromRow)
}
