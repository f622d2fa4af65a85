import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { rebuiltShards } from './meter.clickhouse.ts'
import type { Meter } from './meter.ts'

export type RebuildProgress = { shards: number; built: number }

/**
 * How far the rollups of events before the meter's last change are computed with it; undefined when they all are.
 * Usage is exact all the time: shards that are not built are read from their events.
 */
export async function rebuildProgress(
  { store }: { store: ClickHouseStore },
  tenant: TenantId,
  meter: Meter,
): Promise<RebuildProgress | undefined> {
  const progress = await rebuiltShards(store, tenant, meter.revision)
  return progress.built < progress.shards ? progress : undefined
}
