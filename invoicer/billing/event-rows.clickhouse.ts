import { withUsage } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { MOST_CHARACTERS } from './attributes.ts'
import { type EventDetail, propertiesOf, readingOfDetail } from './counted.ts'
import type { PlacedSpan } from './time-slices.ts'

/**
 * Events that one statement looks for, unless a single shard has more, and shards that it names: its rows are in memory
 * until they are counted.
 */
const EVENTS_PER_STATEMENT = 50_000
const SHARDS_PER_STATEMENT = 2_000

/** Events of a request that are listed together, decimals as text; `found`: what stood at the properties, as JSON. */
export type Row = {
  place: number
  at_text: string
  version_text: string
  each_text: string
  quantity_text: string
  events_text: string
  digest_text: string
  found: string[]
}

/** How events are listed, and how many characters of a text are read: see {@link mostCharacters}. */
export type AskedRows = { detail: EventDetail; most: number }

/** How a statement lists events: each by itself, those of one value together, or those with the same properties. */
export function statementOf(detail: EventDetail): 'each' | 'by value' | 'by properties' {
  if (readingOfDetail(detail) === 'order') return 'each'
  return detail.price?.model === 'percentage' ? 'by value' : 'by properties'
}

/** One more than anything has that a text is compared with or shown as, so that a longer one equals none of them. */
export function mostCharacters({ price }: EventDetail): number {
  const wanted = price?.model === 'matrix' ? price.cells.flatMap(({ when }) => Object.values(when)) : []
  return wanted.reduce<number>((most, one) => Math.max(most, [...String(one)].length), MOST_CHARACTERS) + 1
}

/** Of which tenant and meter, known before which moment. */
export type Of = { tenantId: TenantId; meter: string; asOfMs: number }
const subjectsOf = (spans: readonly PlacedSpan[]) => [...new Set(spans.map(({ subject }) => subject))]

/** The shards in which events of the spans lie, as many at once as a statement may name and look for. */
export async function shardsOf(
  store: ClickHouseStore,
  { tenantId, meter, asOfMs }: Of,
  spans: readonly PlacedSpan[],
): Promise<number[][]> {
  const fromMs = Math.min(...spans.map(({ startMs }) => startMs))
  const toMs = Math.max(...spans.map(({ endMs }) => endMs))
  const rows = await withUsage(store, { tenant: tenantId, meters: [meter], asOfMs }, (usageOf) => {
    const { sql, params } = usageOf({ fromMs, toMs, subjects: subjectsOf(spans) })
    return store.query<{ shard_text: string; events_text: string }>(
      `SELECT toString(shard) AS shard_text, toString(sum(events)) AS events_text FROM ${sql}
       GROUP BY shard HAVING sum(events) > 0 ORDER BY shard`,
      params,
    )
  })
  const slices: number[][] = []
  let events = 0
  for (const { shard_text: shard, events_text: more } of rows) {
    const last = slices.at(-1)
    if (last && last.length < SHARDS_PER_STATEMENT && events + Number(more) <= EVENTS_PER_STATEMENT) {
      last.push(Number(shard))
      events += Number(more)
    } else {
      slices.push([Number(shard)])
      events = Number(more)
    }
  }
  return slices
}

/** How many events of the spans' subjects lie in which minutes, those without any left out. */
export async function minutesOf(
  store: ClickHouseStore,
  { tenantId, meter, asOfMs }: Of,
  spans: readonly PlacedSpan[],
): Promise<{ startMs: number; events: number }[]> {
  const fromMs = Math.min(...spans.map(({ startMs }) => startMs))
  const toMs = Math.max(...spans.map(({ endMs }) => endMs))
  const rows = await withUsage(store, { tenant: tenantId, meters: [meter], asOfMs }, (usageOf) => {
    const { sql, params } = usageOf({ fromMs, toMs, subjects: subjectsOf(spans) })
    return store.query<{ start_text: string; events_text: string }>(
      `SELECT toString(toUnixTimestamp(bucket)) AS start_text, toString(sum(events)) AS events_text FROM ${sql}
       GROUP BY bucket HAVING sum(events) > 0`,
      params,
    )
  })
  return rows.map((row) => ({ startMs: Number(row.start_text) * 1_000, events: Number(row.events_text) }))
}

/** Rows of the spans in some shards; of half of these at a time where all are too much for the store, down to one. */
export async function readRows(
  store: ClickHouseStore,
  of: Of,
  asked: AskedRows,
  spans: readonly PlacedSpan[],
  shards: readonly number[],
): Promise<Row[] | { refused: string }> {
  try {
    return await selectRows(store, of, asked, spans, shards)
  } catch (error) {
    if (!isTooMuch(error)) throw error
  }
  if (shards.length === 1) return { refused: refusedShard(of.meter, shards) }
  const half = Math.ceil(shards.length / 2)
  const first = await readRows(store, of, asked, spans, shards.slice(0, half))
  if ('refused' in first) return first
  const rest = await readRows(store, of, asked, spans, shards.slice(half))
  return 'refused' in rest ? rest : first.concat(rest)
}

/** 159 is TIMEOUT_EXCEEDED, 241 MEMORY_LIMIT_EXCEEDED. */
function isTooMuch(error: unknown): boolean {
  return [159, 241].includes(Number((error as { code?: unknown } | undefined)?.code))
}

function refusedShard(meter: string, shards: readonly number[]): string {
  return (
    `Counting the events of meter ${meter} in shard ${shards.join()} one by one took more memory or time than ClickHouse ` +
    'may use: bill it again when the store is less busy, or give ClickHouse more memory.'
  )
}

const COUNTED = `counted_events(tenant = {tenant:UInt32}, meter = {meter:String}, as_of_ms = {as_of_ms:Int64},
  shards = {shards:Array(UInt64)}, subjects = {subjects:Array(String)}, paths = {paths:String})`

async function selectRows(
  store: ClickHouseStore,
  { tenantId, meter, asOfMs }: Of,
  { detail, most }: AskedRows,
  spans: readonly PlacedSpan[],
  shards: readonly number[],
): Promise<Row[]> {
  const [each, at, version] = {
    each: ['quantity', 'toUnixTimestamp64Milli(time)', 'version'],
    'by value': ['quantity', 'toInt64(0)', 'toUInt128(0)'],
    'by properties': ['toDecimal256(0, 12)', 'toInt64(0)', 'toUInt128(0)'],
  }[statementOf(detail)]
  return store.query<Row>(
    // A version is each event's own, so that by it each is a group. Lists and objects are no value to anybody.
    `SELECT place, toString(at) AS at_text, toString(known) AS version_text, toString(each) AS each_text,
       toString(sum(toDecimal256(value, 12))) AS quantity_text, toString(count()) AS events_text,
       toString(sumWithOverflow(hash)) AS digest_text, found
     FROM (
       SELECT place, ${at} AS at, ${version} AS known, ${each} AS each, quantity AS value, digest AS hash,
         arrayMap(json -> multiIf(
           startsWith(json, '{') OR startsWith(json, '['), '',
           NOT startsWith(json, '"') OR length(json) <= {most:UInt32}, json,
           toJSONString(substringUTF8(JSONExtractString(json), 1, {most:UInt32}))), properties) AS found
       FROM ${COUNTED} AS counted
       INNER JOIN (
         SELECT one.1 AS place, one.2 AS subject, one.3 AS start_ms, one.4 AS end_ms
         FROM (SELECT arrayJoin(arrayZip({places:Array(UInt32)}, {named:Array(String)}, {starts:Array(Int64)},
           {ends:Array(Int64)})) AS one)
       ) AS asked USING (subject)
       WHERE toUnixTimestamp64Milli(time) >= start_ms AND toUnixTimestamp64Milli(time) < end_ms
     )
     GROUP BY place, at, known, each, found`,
    {
      tenant: tenantId,
      meter,
      as_of_ms: asOfMs,
      shards,
      most,
      subjects: subjectsOf(spans),
      paths: JSON.stringify(propertiesOf(detail).map(({ path }) => path)),
      places: spans.map(({ place }) => place),
      named: spans.map(({ subject }) => subject),
      starts: spans.map(({ startMs }) => startMs),
      ends: spans.map(({ endMs }) => endMs),
    },
  )
}
