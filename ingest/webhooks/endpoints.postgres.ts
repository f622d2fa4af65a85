import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

export type Endpoint = { id: string; name: string; url: string; topics: readonly string[]; createdAt: Date }

const COLUMNS = 'id, name, url, topics, created_at AS "createdAt"'

export async function findEndpoint(tx: TenantTransaction, name: string): Promise<Endpoint | undefined> {
  const { rows } = await tx.query<Endpoint>(
    `SELECT ${COLUMNS} FROM webhook_endpoints WHERE name = $1 AND deleted_at IS NULL`,
    [name],
  )
  return rows[0]
}

export async function listEndpoints(tx: TenantTransaction): Promise<Endpoint[]> {
  const { rows } = await tx.query<Endpoint>(
    `SELECT ${COLUMNS} FROM webhook_endpoints WHERE deleted_at IS NULL ORDER BY name`,
  )
  return rows
}

/** Answers the endpoint as it now is, and whether it is new: only then is the secret its own. */
export async function storeEndpoint(
  tx: TenantTransaction,
  { id, name, url, topics, secret }: Omit<Endpoint, 'createdAt'> & { secret: string },
  at: Date,
): Promise<{ endpoint: Endpoint; created: boolean }> {
  const { rows } = await tx.query<Endpoint>(
    `INSERT INTO webhook_endpoints (tenant_id, id, name, url, topics, secret, created_at, updated_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $6)
     ON CONFLICT (tenant_id, name) WHERE deleted_at IS NULL DO UPDATE
     SET url = excluded.url, topics = excluded.topics, updated_at = excluded.updated_at
     RETURNING ${COLUMNS}`,
    [id, name, url, topics, secret, at],
  )
  const [endpoint] = rows
  if (!endpoint) throw new Error(`The webhook ${name} is not there after it was stored`)
  return { endpoint, created: endpoint.id === id }
}

/** Answers its id; undefined if there is none of that name. */
export async function deleteEndpoint(tx: TenantTransaction, name: string, at: Date): Promise<string | undefined> {
  const { rows } = await tx.query<{ id: string }>(
    `UPDATE webhook_endpoints SET secret = NULL, deleted_at = $2, updated_at = $2
     WHERE name = $1 AND deleted_at IS NULL RETURNING id`,
    [name, at],
  )
  return rows[0]?.id
}
