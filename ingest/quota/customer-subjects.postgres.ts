import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

/** The subjects of some customers, by the customers' ids. A customer without any is not there. */
export async function subjectsOfCustomers(
  tx: TenantTransaction,
  customerIds: readonly string[],
): Promise<Map<string, string[]>> {
  const { rows } = await tx.query<{ customer: string; subjects: string[] }>(
    `SELECT customer_id AS customer, array_agg(subject) AS subjects FROM customer_subjects
     WHERE customer_id = ANY($1::uuid[]) GROUP BY customer_id`,
    [customerIds],
  )
  return new Map(rows.map(({ customer, subjects }) => [customer, subjects]))
}
