import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

/** Subjects of the customer of a subscription, given its id or external key; undefined if there is none. */
export async function subjectsOfSubscription(tx: TenantTransaction, key: string): Promise<string[] | undefined> {
  const { rows } = await tx.query<{ customer_id: string }>(
    `SELECT customer_id FROM subscriptions
     WHERE id::text = $1 OR external_key = $1 ORDER BY id::text = $1 DESC LIMIT 1`,
    [key],
  )
  return rows[0] && subjectsOfCustomer(tx, rows[0].customer_id)
}

/** Subjects of a customer, given its id or external key; undefined if there is no such customer. */
export async function subjectsOfCustomer(tx: TenantTransaction, key: string): Promise<string[] | undefined> {
  const { rows } = await tx.query<{ subjects: string[] }>(
    `SELECT ARRAY(
       SELECT subject FROM customer_subjects
       WHERE customer_subjects.tenant_id = customers.tenant_id AND customer_id = customers.id ORDER BY subject
     ) AS subjects
     FROM customers WHERE id::text = $1 OR external_key = $1 ORDER BY id::text = $1 DESC LIMIT 1`,
    [key],
  )
  return rows[0]?.subjects
}
