import { randomUUID } from 'node:crypto'
import type { Pool } from 'pg'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'

/** A customer as the invoicer would store it, for tests of what reads customers; answers its id. */
export async function createCustomer(
  pool: Pool,
  tenant: number,
  key: string,
  subjects: readonly string[],
): Promise<string> {
  const id = randomUUID()
  await withTenant(pool, tenant, (tx) =>
    tx.query(
      `INSERT INTO customers (tenant_id, id, external_key, currency, timezone, created_at)
       VALUES (app_tenant(), $1, $2, 'USD', 'UTC', now())`,
      [id, key],
    ),
  )
  for (const subject of subjects) await giveSubject(pool, tenant, id, subject)
  return id
}

export async function giveSubject(pool: Pool, tenant: number, customer: string, subject: string): Promise<void> {
  await withTenant(pool, tenant, (tx) =>
    tx.query('INSERT INTO customer_subjects (tenant_id, subject, customer_id) VALUES (app_tenant(), $1, $2)', [
      subject,
      customer,
    ]),
  )
}
