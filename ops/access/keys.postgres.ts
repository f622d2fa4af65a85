import pg, { type Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import type { Scope } from '../../schemas/http/scope.ts'
import { type TenantTransaction, withTenant } from '../../schemas/postgres/tenant.postgres.ts'

export type StoredKey = {
  tenantId: TenantId
  tenantSlug: string
  publicId: string
  sha256: Buffer
  operator: boolean
  permissions: readonly string[]
  scope: Scope
}

type KeyRow = {
  tenant_id: number
  slug: string
  public_id: string
  secret_sha256: Buffer
  operator: boolean
  permissions: string[]
  scope_customer_id: string | null
  scope_subjects: string[] | null
}

/** The unrevoked key with this public id, of whatever tenant: the one look-up that is made before a tenant is known. */
export async function findApiKey(pool: Pool, publicId: string): Promise<StoredKey | undefined> {
  const { rows } = await pool.query<KeyRow>(
    `SELECT tenant_id, slug, public_id, secret_sha256, operator, permissions, scope_customer_id, scope_subjects
     FROM find_scoped_api_key($1)`,
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
      scope: scopeOf(row),
    }
  )
}

function scopeOf({ scope_customer_id: customer, scope_subjects: subjects }: KeyRow): Scope {
  if (subjects !== null) return { subjects }
  return customer === null ? 'everything' : { customer }
}

export type KeyToStore = {
  tenantId: TenantId
  publicId: string
  sha256: Buffer
  operator: boolean
  permissions: readonly string[]
  scope: Scope
}

/** Stores a key inside its own tenant, so that row-level security checks the row too. */
export async function insertApiKey(pool: Pool, key: KeyToStore): Promise<void> {
  await withTenant(pool, key.tenantId, async (tx: TenantTransaction) => {
    await tx.query(
      `INSERT INTO api_keys (
         tenant_id, public_id, secret_sha256, operator, permissions, scope_customer_id, scope_subjects)
       VALUES ($1, $2, $3, $4, $5, $6, $7)`,
      [key.tenantId, key.publicId, key.sha256, key.operator, key.permissions, ...scopeColumns(key.scope)],
    )
  })
}

function scopeColumns(scope: Scope): [customer: string | null, subjects: readonly string[] | null] {
  if (scope === 'everything') return [null, null]
  return 'customer' in scope ? [scope.customer, null] : [null, scope.subjects]
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
