import type { Scope } from '../../schemas/http/scope.ts'
import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

export type KnownCustomer = { id: string; subjects: string[] }

/**
 * The customer that an id, or else an external key names, of those in the scope: the others are not there, as if nobody
 * had made them. Whoever sees some subjects only sees no customer at all.
 */
export async function findCustomer(
  tx: TenantTransaction,
  customer: string,
  scope: Scope,
): Promise<KnownCustomer | undefined> {
  if (scope !== 'everything' && 'subjects' in scope) return undefined
  const { rows } = await tx.query<KnownCustomer>(
    `SELECT id, ARRAY(
       SELECT subject FROM customer_subjects
       WHERE customer_subjects.tenant_id = customers.tenant_id AND customer_id = customers.id ORDER BY subject
     ) AS subjects
     FROM customers
     WHERE (external_key = $1 OR id::text = $1) AND ($2::uuid IS NULL OR id = $2)
     ORDER BY id::text = $1 DESC LIMIT 1`,
    [customer, scope === 'everything' ? null : scope.customer],
  )
  return rows[0]
}

/** The quantity that invoices of periods inside [from, to) were made from, void ones left out. A meter with two charges is billed once. */
export async function billedQuantity(
  tx: TenantTransaction,
  customerId: string,
  meter: string,
  fromMs: number,
  toMs: number,
): Promise<string> {
  const { rows } = await tx.query<{ quantity: string }>(
    `SELECT COALESCE(sum(quantity), 0)::text AS quantity
     FROM (
       SELECT DISTINCT ON (subscription_id, period_start) quantity
       FROM billed_usage
       WHERE meter = $2 AND period_start >= $3 AND period_end <= $4
         AND customer_id = $1 AND void_invoice_id IS NULL
       ORDER BY subscription_id, period_start
     ) AS once`,
    [customerId, meter, new Date(fromMs), new Date(toMs)],
  )
  return rows[0]?.quantity ?? '0'
}
