import type { Aggregated } from './quantity-of.ts'
import type { ClickHouseStore } from './store.ts'

/** How each of the meters is aggregated; the versions of a meter agree in that. */
export async function readAggregations(
  store: ClickHouseStore,
  tenant: number,
  meters: readonly string[],
): Promise<Map<string, Aggregated>> {
  if (meters.length === 0) return new Map()
  const rows = await store.query<{ meter: string; found: [string, string, string] }>(
    `SELECT meter, [any(aggregation), any(window), any(percentile)] AS found
     FROM meter_versions WHERE tenant = {tenant:UInt32} AND meter IN {meters:Array(String)}
     GROUP BY meter`,
    { tenant, meters },
  )
  return new Map(
    rows.map(({ meter, found: [aggregation, window, percentile] }) => [meter, { aggregation, window, percentile }]),
  )
}
