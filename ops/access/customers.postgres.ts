import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'

/** The id of the tenant's customer with this external key or id; an id wins over an external key that looks like one. */
export async function findCustomerId(pool: Pool, tenantId: TenantId, customer: string): Promise<string | undefined> {
  const { rows } = await withTenant(pool, tenantId, (tx) =>
    tx.query<{ id: string }>(
      'SELECT id FROM customers WHERE external_key = $1 OR id::text = $1 ORDER BY id::text = $1 DESC LIMIT 1',
      [customer],
    ),
  )
  return rows[0]?.id
}
