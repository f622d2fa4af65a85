import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

export type UsageQuery = {
  tenant: TenantId
  meter: string
  /** Empty: all subjects. */
  subjects: readonly string[]
  fromMs: number
  toMs: number
  /** Where windows start, rising; the first lies at or before fromMs. One place decides that: `windowStarts`. */
  startsMs: readonly number[]
  /** 1-based places of the meter's dimensions to group by. */
  groups: readonly number[]
  bySubject: boolean
}
export type UsageRow = { startMs: number; subject: string; groupValues: string[]; quantity: string; events: string }

/** The statement and its parameters: a pure function of the query. */
export function usageSql(query: UsageQuery): {
  sql: string
  params: Record<string, string | number | readonly string[] | readonly number[]>
} {
  const groups = query.groups.map((place) => `group_values[${Math.trunc(place)}]`).join(', ')
  const sql = `
    SELECT roundDown(toInt64(toUnixTimestamp(bucket)) * 1000, {starts:Array(Int64)}) AS start_ms,
      ${query.bySubject ? 'subject' : "''"} AS subject_name,
      CAST([${groups}], 'Array(String)') AS groups,
      toString(sum(quantity)) AS quantity_text, toString(sum(events)) AS events_text
    FROM exact_usage(tenant = {tenant:UInt32}, meter = {meter:String}, from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64},
      as_of_ms = {as_of_ms:Int64})
    ${query.subjects.length > 0 ? 'WHERE subject IN {subjects:Array(String)}' : ''}
    GROUP BY start_ms, subject_name, groups
    ORDER BY start_ms, subject_name, groups
    LIMIT ${MAX_USAGE_ROWS + 1}`
  const params = {
    tenant: query.tenant,
    meter: query.meter,
    from_ms: query.fromMs,
    to_ms: query.toMs,
    as_of_ms: KNOWN_UNTIL_NOW_MS,
    starts: query.startsMs,
    subjects: query.subjects,
  }
  return { sql, params }
}

export const MAX_USAGE_ROWS = 10_000

export async function readUsage(store: ClickHouseStore, query: UsageQuery): Promise<UsageRow[]> {
  const { sql, params } = usageSql(query)
  const rows = await store.query<{
    start_ms: number | string
    subject_name: string
    groups: string[]
    quantity_text: string
    events_text: string
  }>(sql, params)
  return rows.map((row) => ({
    startMs: Number(row.start_ms),
    subject: row.subject_name,
    groupValues: row.groups,
    quantity: row.quantity_text,
    events: row.events_text,
  }))
}
