import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'

export type StoredEventType = { type: string; version: number; schema: unknown }

export async function listEventTypes(tx: TenantTransaction): Promise<StoredEventType[]> {
  const { rows } = await tx.query<StoredEventType>('SELECT type, version, schema FROM event_types ORDER BY type')
  return rows
}

export async function findEventType(tx: TenantTransaction, type: string): Promise<StoredEventType | undefined> {
  const { rows } = await tx.query<StoredEventType>('SELECT type, version, schema FROM event_types WHERE type = $1', [
    type,
  ])
  return rows[0]
}

/** Stores a schema as the version after `version`; false if somebody else was faster. */
export async function storeEventType(
  tx: TenantTransaction,
  type: string,
  version: number,
  schema: unknown,
  at: Date,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO event_types (tenant_id, type, version, schema, updated_at) VALUES (app_tenant(), $1, $2 + 1, $3, $4)
     ON CONFLICT (tenant_id, type) DO UPDATE
     SET version = excluded.version, schema = excluded.schema, updated_at = excluded.updated_at
     WHERE event_types.version = $2`,
    [type, version, JSON.stringify(schema), at],
  )
  return rowCount === 1
}
