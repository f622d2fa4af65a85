import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { OpenmeterMeter } from './meter.ts'

const COLUMNS = `id, slug, meter, name, description, metadata, event_type AS "eventType", aggregation,
  value_property AS "valueProperty", group_by AS "groupBy", created_at AS "createdAt"`

export async function listMeters(tx: TenantTransaction): Promise<OpenmeterMeter[]> {
  const { rows } = await tx.query<OpenmeterMeter>(
    `SELECT ${COLUMNS} FROM openmeter_meters WHERE deleted_at IS NULL ORDER BY created_at, slug`,
  )
  return rows
}

export async function findMeter(tx: TenantTransaction, idOrSlug: string): Promise<OpenmeterMeter | undefined> {
  const { rows } = await tx.query<OpenmeterMeter>(
    `SELECT ${COLUMNS} FROM openmeter_meters WHERE deleted_at IS NULL AND (id = $1 OR slug = $1)`,
    [idOrSlug],
  )
  return rows[0]
}

/** How often a meter of this slug was deleted; undefined if there is one. */
export async function timesDeleted(tx: TenantTransaction, slug: string): Promise<number | undefined> {
  const { rows } = await tx.query<{ deleted: boolean }>(
    'SELECT deleted_at IS NOT NULL AS deleted FROM openmeter_meters WHERE slug = $1',
    [slug],
  )
  return rows.every((row) => row.deleted) ? rows.length : undefined
}

/** False if somebody else was faster. */
export async function insertMeter(tx: TenantTransaction, meter: OpenmeterMeter): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO openmeter_meters (tenant_id, id, slug, meter, name, description, metadata, event_type, aggregation,
       value_property, group_by, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
     ON CONFLICT (tenant_id, slug) WHERE deleted_at IS NULL DO NOTHING`,
    [
      ...[meter.id, meter.slug, meter.meter, meter.name, meter.description, asJson(meter.metadata), meter.eventType],
      ...[meter.aggregation, meter.valueProperty, JSON.stringify(meter.groupBy), meter.createdAt],
    ],
  )
  return rowCount === 1
}

export async function markDeleted(tx: TenantTransaction, id: string, at: Date): Promise<void> {
  await tx.query('UPDATE openmeter_meters SET deleted_at = $2 WHERE id = $1', [id, at])
}

function asJson(value: object | null): string | null {
  return value === null ? null : JSON.stringify(value)
}
