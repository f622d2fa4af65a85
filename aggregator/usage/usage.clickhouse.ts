import { type UsageFilter, type UsageTable, withUsage } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type Aggregated, quantityOf, readsFromBefore } from '../../schemas/clickhouse/quantity-of.ts'
import { type ClickHouseParams, type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

export type UsageQuery = {
  tenant: TenantId
  meter: string
  /** A sum when not given. */
  aggregated?: Aggregated
  /** Empty: all subjects. */
  subjects: readonly string[]
  fromMs: number
  toMs: number
  /** What was known before this moment; when not given, everything known now. */
  asOfMs?: number
  /** Where windows start, rising; the first lies at or before fromMs. One place decides that: `windowStarts`. */
  startsMs: readonly number[]
  /** 1-based places of the meter's dimensions to group by. */
  groups: readonly number[]
  bySubject: boolean
  /** Rows behind this one in their order, and so many of them at most. */
  after?: RowKey
  limit?: number
}
export type RowKey = { startMs: number; subject: string; groupValues: readonly string[] }
export type UsageRow = { startMs: number; subject: string; groupValues: string[]; quantity: string; events: string }

export const MAX_USAGE_ROWS = 10_000
const BUCKET_MS = 'toInt64(toUnixTimestamp(bucket)) * 1000'
const BEHIND =
  'HAVING (start_ms, subject_name, groups) > ({after_ms:Int64}, {after:String}, {after_groups:Array(String)})'
const SUM: Aggregated = { aggregation: 'sum' }

/** The statement over a table of usage, and its parameters: a pure function of both. */
export function usageSql(query: UsageQuery, usage: UsageTable): { sql: string; params: ClickHouseParams } {
  const aggregated = query.aggregated ?? SUM
  const groups = query.groups.map((place) => `group_values[${Math.trunc(place)}]`).join(', ')
  const span = { startMs: 'greatest(start_ms, {from_ms:Int64})', endMs: 'end_ms' }
  const fromBefore = readsFromBefore(aggregated)
  // A level from before lasts into later windows: its row stands in each of them, but its events are no events there.
  const windowColumns = fromBefore
    ? 'span.1 AS start_ms, span.2 AS end_ms,'
    : `roundDown(${BUCKET_MS}, {starts:Array(Int64)}) AS start_ms,`
  const spans = `ARRAY JOIN arrayFilter(
      span -> span.2 > ${BUCKET_MS}, arrayZip({starts:Array(Int64)}, {ends:Array(Int64)})) AS span`
  const events = fromBefore ? `sumIf(events, ${BUCKET_MS} >= ${span.startMs})` : 'sum(events)'
  const sql = `
    SELECT ${windowColumns}
      ${query.bySubject ? 'subject' : "''"} AS subject_name,
      CAST([${groups}], 'Array(String)') AS groups,
      toString(${quantityOf(aggregated, span)}) AS quantity_text, toString(${events}) AS events_text
    FROM ${usage.sql}
    ${fromBefore ? spans : ''}
    GROUP BY start_ms, ${fromBefore ? 'end_ms, ' : ''}subject_name, groups
    ${query.after ? BEHIND : ''}
    ORDER BY start_ms, subject_name, groups
    LIMIT ${Math.trunc(query.limit ?? MAX_USAGE_ROWS) + 1}`
  const { after } = query
  const params = {
    ...usage.params,
    from_ms: query.fromMs,
    starts: query.startsMs,
    ...(fromBefore ? { ends: endsOf(query) } : {}),
    ...(after ? { after_ms: after.startMs, after: after.subject, after_groups: after.groupValues } : {}),
  }
  return { sql, params }
}

function endsOf({ startsMs, toMs }: UsageQuery): number[] {
  return startsMs.map((_, place) => Math.min(startsMs[place + 1] ?? toMs, toMs))
}

type FoundRow = {
  start_ms: number | string
  subject_name: string
  groups: string[]
  quantity_text: string
  events_text: string
}

/** One row more than the limit, if there are more. */
export async function readUsage(store: ClickHouseStore, query: UsageQuery): Promise<UsageRow[]> {
  const { tenant, meter, subjects, fromMs, toMs, asOfMs = KNOWN_UNTIL_NOW_MS } = query
  const fromBefore = readsFromBefore(query.aggregated ?? SUM)
  const filter: UsageFilter = {
    toMs,
    ...(fromBefore ? {} : { fromMs }),
    subjects: subjects.length > 0 ? subjects : 'everything',
  }
  const rows = await withUsage(store, { tenant, meters: [meter], asOfMs }, (usageOf) => {
    const { sql, params } = usageSql(query, usageOf(filter))
    return store.query<FoundRow>(sql, params)
  })
  return rows.map((row) => ({
    startMs: Number(row.start_ms),
    subject: row.subject_name,
    groupValues: row.groups,
    quantity: row.quantity_text,
    events: row.events_text,
  }))
}

/** What all rows of the query come to together: of most aggregations that is not the sum of the rows. */
export async function readTotal(
  store: ClickHouseStore,
  query: UsageQuery,
): Promise<{ quantity: string; events: string }> {
  const { after: _after, limit: _limit, ...all } = query
  const [row] = await readUsage(store, { ...all, startsMs: [query.fromMs], groups: [], bySubject: false })
  return row ?? { quantity: '0', events: '0' }
}
