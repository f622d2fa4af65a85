import { readAggregations } from '../../schemas/clickhouse/aggregations.clickhouse.ts'
import type { Aggregated } from '../../schemas/clickhouse/quantity-of.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

/** Beyond so many all are forgotten. */
const MOST_KNOWN = 10_000

/** How meters aggregate, which never changes and so is asked once; those that are not known yet are asked again. */
export function rememberAggregations(
  store: ClickHouseStore,
): (tenantId: TenantId, meters: readonly string[]) => Promise<Map<string, Aggregated>> {
  const known = new Map<string, Aggregated>()
  const idOf = (tenantId: TenantId, meter: string) => `${tenantId} ${meter}`
  return async (tenantId, meters) => {
    if (known.size > MOST_KNOWN) known.clear()
    const found = new Map<string, Aggregated>()
    for (const meter of meters) {
      const aggregated = known.get(idOf(tenantId, meter))
      if (aggregated) found.set(meter, aggregated)
    }
    const missing = meters.filter((meter) => !found.has(meter))
    for (const [meter, aggregated] of await readAggregations(store, tenantId, missing)) {
      known.set(idOf(tenantId, meter), aggregated)
      found.set(meter, aggregated)
    }
    return found
  }
}
