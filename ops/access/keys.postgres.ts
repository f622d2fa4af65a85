import pg, { type Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { type TenantTransaction, withTenant } from '../../schemas/postgres/tenant.postgres.ts'

export type StoredKey = {
  tenantId: TenantId
  tenantSlug: string
  publicId: string
  sha256: Buffer
  operator: boolean
  permissions: readonly string[]
}

type KeyRow = {
  tenant_id: number
  slug: string
  public_id: string
  secret_sha256: Buffer
  operator: boolean
  permissions: string[]
}

/** The unrevoked key with this public id, of whatever tenant: the one look-up that is made before a tenant is known. */
export async function findApiKey(pool: Pool, publicId: string): Promise<StoredKey | undefined> {
  const { rows } = await pool.query<KeyRow>(
    'SELECT tenant_id, slug, public_id, secret_sha256, operator, permissions FROM find_api_key($1)',
    [publicId],
  )
  const row = rows[0]
  return (
    row && {
      tenantId: row.tenant_id,
      tenantSlug: row.slug,
      publicId: row.public_id,
      sha256: row.secret_sha256,
      operator: row.operator,
      permissions: row.permissions,
    }
  )
}

export type KeyToStore = {
  tenantId: TenantId
  publicId: string
  sha256: Buffer
  operator: boolean
  permissions: readonly string[]
}

/** Stores a key inside its own tenant, so that row-level security checks the row too. */
export async function insertApiKey(pool: Pool, key: KeyToStore): Promise<void> {
  await withTenant(pool, key.tenantId, async (tx: TenantTransaction) => {
    await tx.query(
      `INSERT INTO api_keys (tenant_id, public_id, secret_sha256, operator, permissions)
       VALUES ($1, $2, $3, $4, $5)`,
      [key.tenantId, key.publicId, key.sha256, key.operator, key.permissions],
    )
  })
}

/** Whether any key exists yet, of any tenant: asked as the owner. */
export async function hasKeys(ownerUrl: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: ownerUrl })
  await client.connect()
  try {
    const { rowCount } = await client.query('SELECT FROM api_keys LIMIT 1')
    return rowCount === 1
  } finally {
    await client.end()
  }
}
