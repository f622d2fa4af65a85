import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import type { Meter } from './meter.ts'

/** The copy that rollups are built with. Writing it again changes nothing. */
export async function copyMeter(store: ClickHouseStore, tenant: TenantId, meter: Meter): Promise<void> {
  await store.command(
    `INSERT INTO meters
     SELECT {tenant:UInt32}, {slug:String}, {revision:UInt32}, {type:String}, {aggregation:String},
       {value_path:Array(String)}, arrayMap(path -> splitByChar('.', path), {group_paths:Array(String)})`,
    {
      tenant,
      slug: meter.slug,
      revision: meter.revision,
      type: meter.eventType,
      aggregation: meter.aggregation,
      value_path: meter.valuePath,
      group_paths: meter.groupBy.map((group) => group.path.join('.')),
    },
  )
}

/** Slugs that ClickHouse already knows. */
export async function copiedMeters(store: ClickHouseStore, tenant: TenantId): Promise<Set<string>> {
  const rows = await store.query<{ meter: string }>(
    'SELECT DISTINCT meter FROM meters WHERE tenant = {tenant:UInt32}',
    {
      tenant,
    },
  )
  return new Set(rows.map((row) => row.meter))
}
