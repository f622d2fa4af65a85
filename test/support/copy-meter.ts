import { copyVersion, type MeterCopy } from '../../aggregator/meters/meter.clickhouse.ts'
import { defineMeter, type MeterInput } from '../../aggregator/meters/meter.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'

/** A meter, or a version of it, as ClickHouse knows it; without a version it is the first one, of all time. */
export function copyMeter(
  store: ClickHouseStore,
  tenant: number,
  slug: string,
  input: MeterInput,
  change: { revision: number } & Partial<MeterCopy>,
): Promise<void> {
  return copyVersion(store, tenant, { ...defineMeter(slug, input), version: 1, effectiveFromMs: 0, ...change })
}
