import type { Aggregation, MeterWindow } from '../../schemas/meter/aggregation.ts'
import { plainPathOf } from '../../schemas/meter/evaluate.ts'
import { parseValue } from '../../schemas/meter/expression.ts'
import { type FilterInput, filterFormOf } from '../../schemas/meter/filter.ts'
import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import type { Meter, MeterDefinition, MeterVersion } from './meter.ts'

type VersionRow = {
  version: number
  effective_from_ms: number
  event_type: string
  value: string | null
  filter: FilterInput | null
  revision: number
}
type MeterRow = {
  slug: string
  aggregation: Aggregation
  group_by: { name: string; path: string[] }[]
  revision: number
  window_size: MeterWindow | null
  percentile: string | null
  archived: boolean
  versions: VersionRow[]
}

const SELECT_METERS = `
  SELECT slug, aggregation, group_by, revision, window_size, trim_scale(percentile)::text AS percentile,
    archived_at IS NOT NULL AS archived,
    (SELECT jsonb_agg(jsonb_build_object(
       'version', version, 'effective_from_ms', extract(epoch FROM effective_from) * 1000, 'event_type', event_type,
       'value', value, 'filter', filter, 'revision', meter_versions.revision
     ) ORDER BY version)
     FROM meter_versions
     WHERE meter_versions.tenant_id = meters.tenant_id AND meter_versions.slug = meters.slug) AS versions
  FROM meters`

/** Meters that are not archived. */
export async function listMeters(tx: TenantTransaction): Promise<Meter[]> {
  return (await listAllMeters(tx)).filter((meter) => !meter.archived)
}

/** Archived ones too. */
export async function listAllMeters(tx: TenantTransaction): Promise<Meter[]> {
  const { rows } = await tx.query<MeterRow>(`${SELECT_METERS} ORDER BY slug`)
  return rows.map(toMeter)
}

/** A meter that is not archived. */
export async function findMeter(tx: TenantTransaction, slug: string): Promise<Meter | undefined> {
  const meter = await findAnyMeter(tx, slug)
  return meter?.archived ? undefined : meter
}

/** A meter, archived or not. */
export async function findAnyMeter(tx: TenantTransaction, slug: string): Promise<Meter | undefined> {
  const { rows } = await tx.query<MeterRow>(`${SELECT_METERS} WHERE slug = $1`, [slug])
  return rows[0] && toMeter(rows[0])
}

/** From now on no other transaction changes the tenant's meters: revisions grow in the order in which they are seen. */
export async function lockMeters(tx: TenantTransaction): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtext('meters'), app_tenant())")
}

/** Inserts a meter under the tenant's next revision, which it returns; the slug must be free and meters locked. */
export async function insertMeter(tx: TenantTransaction, meter: MeterDefinition, at: Date): Promise<number> {
  const { rows } = await tx.query<{ revision: number }>(
    `INSERT INTO meters (tenant_id, slug, event_type, aggregation, value_path, group_by, window_size, percentile,
       revision, updated_at)
     SELECT app_tenant(), $1, $2, $3, $4, $5, $6, $7, COALESCE(max(revision), 0) + 1, $8 FROM meters
     RETURNING revision`,
    [
      ...[meter.slug, meter.eventType, meter.aggregation, meter.valuePath, JSON.stringify(meter.groupBy)],
      ...[meter.window ?? null, meter.percentile ?? null, at],
    ],
  )
  return Number(rows[0]?.revision)
}

/** Makes the newest version's members the meter's, under the tenant's next revision, which it returns. */
export async function updateMeter(tx: TenantTransaction, meter: MeterDefinition, at: Date): Promise<number> {
  const { rows } = await tx.query<{ revision: number }>(
    `UPDATE meters SET event_type = $2, value_path = $3, updated_at = $4,
       revision = (SELECT max(revision) + 1 FROM meters)
     WHERE slug = $1 RETURNING revision`,
    [meter.slug, meter.eventType, meter.valuePath, at],
  )
  return Number(rows[0]?.revision)
}

export async function insertVersion(
  tx: TenantTransaction,
  { slug, eventType, value, filter }: MeterDefinition,
  { version, effectiveFromMs, revision }: Pick<MeterVersion, 'version' | 'effectiveFromMs' | 'revision'>,
  at: Date,
): Promise<void> {
  await tx.query(
    `INSERT INTO meter_versions (tenant_id, slug, version, effective_from, event_type, value, filter, revision, created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8)`,
    [
      ...[slug, version, new Date(effectiveFromMs), eventType, value ?? null],
      ...[filter === undefined ? null : JSON.stringify(filter), revision, at],
    ],
  )
}

/** Sets a meter aside, or takes it back. */
export async function setArchived(tx: TenantTransaction, slug: string, at: Date | undefined): Promise<void> {
  await tx.query('UPDATE meters SET archived_at = $2 WHERE slug = $1', [slug, at ?? null])
}

/**
 * Who still needs a meter: a plan, a limit, an entitlement or a meter of OpenMeter's doors; undefined if nobody does. Plans
 * and limits that are being made with it are waited for, and later ones wait for the end of this transaction.
 */
export async function userOfMeter(tx: TenantTransaction, slug: string): Promise<string | undefined> {
  await tx.query('SELECT 1 FROM meters WHERE slug = $1 FOR UPDATE', [slug])
  const { rows } = await tx.query<{ who: string }>(
    `SELECT 'the quota limit of ' || subject AS who FROM quota_limits WHERE meter = $1
     UNION ALL SELECT 'the entitlement ' || feature || ' of the ' || holder_kind || ' ' || holder
       FROM entitlements WHERE meter = $1
     UNION ALL SELECT 'the plan ' || plans.key FROM plan_charges JOIN plans ON plans.id = plan_id WHERE meter = $1
     UNION ALL SELECT 'the meter ' || slug || ' of OpenMeter' FROM openmeter_meters WHERE meter = $1 AND deleted_at IS NULL
     LIMIT 1`,
    [slug],
  )
  return rows[0]?.who
}

function toMeter(row: MeterRow): Meter {
  const versions = row.versions.map(toVersion)
  const newest = versions.at(-1)
  if (!newest) throw new Error(`Meter ${row.slug} has no version`)
  return {
    slug: row.slug,
    aggregation: row.aggregation,
    groupBy: row.group_by,
    window: row.window_size ?? undefined,
    percentile: row.percentile ?? undefined,
    eventType: newest.eventType,
    value: newest.value,
    valueForm: newest.valueForm,
    valuePath: [...(plainPathOf(newest.valueForm) ?? [])],
    filter: newest.filter,
    filterForm: newest.filterForm,
    revision: row.revision,
    versions,
    archived: row.archived,
  }
}

function toVersion(row: VersionRow): MeterVersion {
  return {
    version: row.version,
    effectiveFromMs: row.effective_from_ms,
    eventType: row.event_type,
    value: row.value ?? undefined,
    valueForm: row.value === null ? [[], []] : parseValue(row.value),
    filter: row.filter ?? undefined,
    filterForm: filterFormOf(row.filter ?? undefined),
    revision: row.revision,
  }
}
