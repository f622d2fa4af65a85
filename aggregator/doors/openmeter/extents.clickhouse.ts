import { withUsage } from '../../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { Visible } from '../../../schemas/http/scope.ts'

export type ExtentsQuery = {
  meter: string
  subjects: Visible
  fromMs: number
  toMs: number
  /** 1-based places of the meter's dimensions. */
  groups: readonly number[]
  bySubject: boolean
}
/** From the minute of the first event to the end of that of the last one, for each group that has events. */
export type Extent = { subject: string; groupValues: string[]; fromMs: number; toMs: number }

export async function readExtents(store: ClickHouseStore, tenant: TenantId, query: ExtentsQuery): Promise<Extent[]> {
  const { meter, fromMs, toMs, subjects } = query
  const groups = query.groups.map((place) => `group_values[${Math.trunc(place)}]`).join(', ')
  const rows = await withUsage(store, { tenant, meters: [meter], asOfMs: KNOWN_UNTIL_NOW_MS }, (usageOf) => {
    const usage = usageOf({ fromMs, toMs, subjects })
    return store.query<{ subject_name: string; groups: string[]; from_ms: number; to_ms: number }>(
      `SELECT ${query.bySubject ? 'subject' : "''"} AS subject_name, CAST([${groups}], 'Array(String)') AS groups,
         toFloat64(toUnixTimestamp(min(bucket))) * 1000 AS from_ms,
         (toFloat64(toUnixTimestamp(max(bucket))) + 60) * 1000 AS to_ms
       FROM ${usage.sql}
       GROUP BY subject_name, groups ORDER BY subject_name, groups
       LIMIT 10000`,
      usage.params,
    )
  })
  return rows.map((row) => ({
    subject: row.subject_name,
    groupValues: row.groups,
    fromMs: row.from_ms,
    toMs: row.to_ms,
  }))
}
