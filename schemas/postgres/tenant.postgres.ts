import type { Pool, PoolClient } from 'pg'
import type { TenantId } from '../http/door.ts'

/** A transaction bound to one tenant: row-level security shows and takes that tenant's rows only. */
export type TenantTransaction = PoolClient

/**
 * Runs `work` in one transaction that sees one tenant. The setting is local to the transaction, so a pooled
 * connection never carries a tenant into its next use. Any error rolls back and is rethrown.
 */
export async function withTenant<T>(
  pool: Pool,
  tenantId: TenantId,
  work: (tx: TenantTransaction) => Promise<T>,
): Promise<T> {
  const client = await pool.connect()
  let broken: Error | undefined
  try {
    await client.query('BEGIN')
    await client.query("SELECT set_config('app.tenant', $1, true)", [String(tenantId)])
    const result = await work(client)
    await client.query('COMMIT')
    return result
  } catch (error) {
    await client.query('ROLLBACK').catch((rollbackError: Error) => {
      broken = rollbackError
    })
    throw error
  } finally {
    client.release(broken)
  }
}

/** All tenants, oldest first: what crosses tenants (cron, rebuilds) iterates them and enters each on its own. */
export async function listTenants(pool: Pool): Promise<{ tenantId: TenantId; slug: string }[]> {
  const { rows } = await pool.query<{ tenant_id: number; slug: string }>('SELECT tenant_id, slug FROM list_tenants()')
  return rows.map((row) => ({ tenantId: row.tenant_id, slug: row.slug }))
}
