import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../../schemas/http/door.ts'

export type ExtentsQuery = {
  meter: string
  /** Empty: all subjects. */
  subjects: readonly string[]
  fromMs: number
  toMs: number
  /** 1-based places of the meter's dimensions. */
  groups: readonly number[]
  bySubject: boolean
}
/** From the minute of the first event to the end of that of the last one, for each group that has events. */
export type Extent = { subject: string; groupValues: string[]; fromMs: number; toMs: number }

export async function readExtents(store: ClickHouseStore, tenant: TenantId, query: ExtentsQuery): Promise<Extent[]> {
  const groups = query.groups.map((place) => `group_values[${Math.trunc(place)}]`).join(', ')
  const rows = await store.query<{ subject_name: string; groups: string[]; from_ms: number; to_ms: number }>(
    `SELECT ${query.bySubject ? 'subject' : "''"} AS subject_name, CAST([${groups}], 'Array(String)') AS groups,
       toFloat64(toUnixTimestamp(min(bucket))) * 1000 AS from_ms,
       (toFloat64(toUnixTimestamp(max(bucket))) + 60) * 1000 AS to_ms
     FROM exact_usage(tenant = {tenant:UInt32}, meter = {meter:String}, from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64},
       as_of_ms = {as_of_ms:Int64})
     ${query.subjects.length > 0 ? 'WHERE subject IN {subjects:Array(String)}' : ''}
     GROUP BY subject_name, groups ORDER BY subject_name, groups
     LIMIT 10000`,
    {
      ...{ tenant, meter: query.meter, from_ms: query.fromMs, to_ms: query.toMs, subjects: query.subjects },
      as_of_ms: KNOWN_UNTIL_NOW_MS,
    },
  )
  return rows.map((row) => ({
    subject: row.subject_name,
    groupValues: row.groups,
    fromMs: row.from_ms,
    toMs: row.to_ms,
  }))
}
