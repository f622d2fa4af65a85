import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import type { Meter, MeterVersion } from './meter.ts'

export type MeterCopy = Pick<Meter, 'slug' | 'aggregation' | 'window' | 'percentile' | 'groupBy'> &
  Pick<MeterVersion, 'version' | 'revision' | 'effectiveFromMs' | 'eventType' | 'valueForm' | 'filterForm'>

/** A version of a meter as rollups are built with it. Writing it again changes nothing. */
export async function copyVersion(store: ClickHouseStore, tenant: TenantId, meter: MeterCopy): Promise<void> {
  await store.command(
    `INSERT INTO meter_versions
     SELECT {tenant:UInt32}, {slug:String}, {version:UInt32}, {revision:UInt32},
       fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC'), {type:String}, {aggregation:String}, {window:String},
       {percentile:String}, {value:String}, {filter:String},
       arrayMap(path -> splitByChar('.', path), {group_paths:Array(String)})`,
    {
      tenant,
      slug: meter.slug,
      version: meter.version,
      revision: meter.revision,
      from_ms: meter.effectiveFromMs,
      type: meter.eventType,
      aggregation: meter.aggregation,
      window: meter.window ?? '',
      percentile: meter.percentile ?? '',
      value: JSON.stringify(meter.valueForm),
      filter: JSON.stringify(meter.filterForm),
      group_paths: meter.groupBy.map((group) => group.path.join('.')),
    },
  )
}

/** Revisions that ClickHouse already knows: each is one version of one meter. */
export async function copiedRevisions(store: ClickHouseStore, tenant: TenantId): Promise<Set<number>> {
  const rows = await store.query<{ revision: number }>(
    'SELECT DISTINCT revision FROM meter_versions WHERE tenant = {tenant:UInt32}',
    { tenant },
  )
  return new Set(rows.map((row) => row.revision))
}

/** How many of a tenant's shards are rebuilt with a revision, and how many there are. */
export async function rebuiltShards(
  store: ClickHouseStore,
  tenant: TenantId,
  revision: number,
): Promise<{ shards: number; built: number }> {
  const [row] = await store.query<{ shards: string; built: string }>(
    `SELECT
       toString((SELECT uniqExact(shard) FROM shard_changes WHERE tenant = {tenant:UInt32})) AS shards,
       toString((
         SELECT uniqExact(shard) FROM shard_heads
         WHERE tenant = {tenant:UInt32} AND version >= bitShiftLeft(toUInt64({revision:UInt32}), 40)
       )) AS built`,
    { tenant, revision },
  )
  return { shards: Number(row?.shards ?? 0), built: Number(row?.built ?? 0) }
}
