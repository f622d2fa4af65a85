import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import type { UnknownFields } from './avro-schema.ts'

export type StoredEventType = { type: string; version: number; schema: unknown; unknown_fields: UnknownFields }

export async function listEventTypes(tx: TenantTransaction): Promise<StoredEventType[]> {
  const { rows } = await tx.query<StoredEventType>(
    'SELECT type, version, schema, unknown_fields FROM event_types ORDER BY type',
  )
  return rows
}

export async function findEventType(tx: TenantTransaction, type: string): Promise<StoredEventType | undefined> {
  const { rows } = await tx.query<StoredEventType>(
    'SELECT type, version, schema, unknown_fields FROM event_types WHERE type = $1',
    [type],
  )
  return rows[0]
}

/** Those of the types that are registered. */
export async function registeredAmong(tx: TenantTransaction, types: readonly string[]): Promise<string[]> {
  const { rows } = await tx.query<{ type: string }>('SELECT type FROM event_types WHERE type = ANY($1)', [types])
  return rows.map(({ type }) => type)
}

/** Stores a registration as the version after `version`; false if somebody else was faster. */
export async function storeEventType(
  tx: TenantTransaction,
  { type, version, schema, unknown_fields }: StoredEventType,
  at: Date,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO event_types (tenant_id, type, version, schema, unknown_fields, updated_at)
     VALUES (app_tenant(), $1, $2 + 1, $3, $4, $5)
     ON CONFLICT (tenant_id, type) DO UPDATE
     SET version = excluded.version, schema = excluded.schema, unknown_fields = excluded.unknown_fields,
       updated_at = excluded.updated_at
     WHERE event_types.version = $2`,
    [type, version, JSON.stringify(schema), unknown_fields, at],
  )
  return rowCount === 1
}
