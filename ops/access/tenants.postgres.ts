import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'

/** The tenant of a slug, made if it is new. The slug's form is checked by the operation and by the table. */
export async function insertTenant(pool: Pool, slug: string): Promise<TenantId> {
  const { rows } = await pool.query<{ id: number }>('SELECT put_tenant($1) AS id', [slug])
  const id = rows[0]?.id
  if (id === undefined) throw new Error('put_tenant answered no row')
  return id
}

export async function findTenant(pool: Pool, slug: string): Promise<TenantId | undefined> {
  const { rows } = await pool.query<{ id: number }>('SELECT tenant_id AS id FROM list_tenants() WHERE slug = $1', [
    slug,
  ])
  return rows[0]?.id
}
