import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

/** The customer that a text names, $1: its id, or else its external key. */
const CUSTOMER = `
  SELECT id FROM customers WHERE external_key = $1 OR id::text = $1 ORDER BY id::text = $1 DESC LIMIT 1`

/** The subjects of a customer, given its external key or id; undefined if there is no such customer. */
export async function customerSubjects(tx: TenantTransaction, customer: string): Promise<string[] | undefined> {
  const { rows } = await tx.query<{ subjects: string[] }>(
    `SELECT ARRAY(
       SELECT subject FROM customer_subjects
       WHERE customer_subjects.tenant_id = customers.tenant_id AND customer_id = customers.id ORDER BY subject
     ) AS subjects
     FROM customers WHERE id = (${CUSTOMER})`,
    [customer],
  )
  return rows[0]?.subjects
}

/** The quantity that invoices of periods inside [from, to) were made from. A meter with two charges is billed once. */
export async function billedQuantity(
  tx: TenantTransaction,
  customer: string,
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
         AND customer_id = (${CUSTOMER})
       ORDER BY subscription_id, period_start
     ) AS once`,
    [customer, meter, new Date(fromMs), new Date(toMs)],
  )
  return rows[0]?.quantity ?? '0'
}
