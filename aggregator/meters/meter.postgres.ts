import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import type { Aggregation, Meter, MeterDefinition } from './meter.ts'

type MeterRow = {
  slug: string
  event_type: string
  aggregation: Aggregation
  value_path: string[]
  group_by: { name: string; path: string[] }[]
  revision: number
}

const toMeter = (row: MeterRow): Meter => ({
  slug: row.slug,
  eventType: row.event_type,
  aggregation: row.aggregation,
  valuePath: row.value_path,
  groupBy: row.group_by,
  revision: row.revision,
})

export async function listMeters(tx: TenantTransaction): Promise<Meter[]> {
  const { rows } = await tx.query<MeterRow>(
    'SELECT slug, event_type, aggregation, value_path, group_by, revision FROM meters ORDER BY slug',
  )
  return rows.map(toMeter)
}

export async function findMeter(tx: TenantTransaction, slug: string): Promise<Meter | undefined> {
  const { rows } = await tx.query<MeterRow>(
    'SELECT slug, event_type, aggregation, value_path, group_by, revision FROM meters WHERE slug = $1',
    [slug],
  )
  return rows[0] && toMeter(rows[0])
}

/**
 * Inserts a meter under the tenant's next revision; undefined if the slug is taken. The lock makes revisions grow in
 * the order in which they become visible.
 */
export async function insertMeter(tx: TenantTransaction, meter: MeterDefinition, at: Date): Promise<Meter | undefined> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtext('meters'), app_tenant())")
  const { rows } = await tx.query<MeterRow>(
    `INSERT INTO meters (tenant_id, slug, event_type, aggregation, value_path, group_by, revision, updated_at)
     SELECT app_tenant(), $1, $2, $3, $4, $5, COALESCE(max(revision), 0) + 1, $6 FROM meters
     ON CONFLICT (tenant_id, slug) DO NOTHING
     RETURNING slug, event_type, aggregation, value_path, group_by, revision`,
    [meter.slug, meter.eventType, meter.aggregation, meter.valuePath, JSON.stringify(meter.groupBy), at],
  )
  return rows[0] && toMeter(rows[0])
}
