import type { UsageFilter, UsageTable } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { parseSum } from '../../schemas/quantity.ts'
import type { MeteredUsage, UsageRequest } from './usage.ts'
import { partsOf, type Requests } from './usage-together.clickhouse.ts'

/**
 * The usage of requests whose meters add up and whose periods differ, as those of subscriptions by anniversary do: a
 * statement for each period would take longer to plan than to read.
 */
export async function readAcrossPeriods(
  store: ClickHouseStore,
  usageOf: (filter: UsageFilter) => UsageTable,
  requests: readonly UsageRequest[],
): Promise<Map<string, MeteredUsage>> {
  const found = new Map<string, MeteredUsage>()
  for (const part of partsOf(requests.filter(({ subjects }) => subjects.length > 0))) {
    for (const [key, usage] of await readPart(store, usageOf, part)) found.set(key, usage)
  }
  return found
}

async function readPart(
  store: ClickHouseStore,
  usageOf: (filter: UsageFilter) => UsageTable,
  requests: Requests,
): Promise<[string, MeteredUsage][]> {
  const asked = requests.flatMap(({ subjects, ...rest }, place) =>
    [...new Set(subjects)].map((subject) => ({ place, subject, ...rest })),
  )
  const fromMs = Math.min(...requests.map(({ startMs }) => startMs))
  const toMs = Math.max(...requests.map(({ endMs }) => endMs))
  const table = usageOf({ fromMs, toMs, subjects: [...new Set(asked.map(({ subject }) => subject))] })
  const rows = await store.query<{ place: number; found: [string, string, string] }>(
    // Wider than what is summed, as where all have one period.
    `SELECT place, [
       toString(sum(toDecimal256(quantity, 12))), toString(sum(events)), toString(sumWithOverflow(digest))
     ] AS found
     FROM ${table.sql} AS usage
     INNER JOIN (
       SELECT one.1 AS place, one.2 AS meter, one.3 AS subject, one.4 AS start_ms, one.5 AS end_ms
       FROM (SELECT arrayJoin(arrayZip({places:Array(UInt32)}, {meters:Array(String)}, {subjects:Array(String)},
         {starts:Array(Int64)}, {ends:Array(Int64)})) AS one)
     ) AS asked USING (meter, subject)
     WHERE bucket >= toDateTime(intDiv(start_ms, 1000), 'UTC') AND bucket < toDateTime(intDiv(end_ms, 1000), 'UTC')
     GROUP BY place`,
    {
      ...table.params,
      places: asked.map(({ place }) => place),
      meters: asked.map(({ meter }) => meter),
      subjects: asked.map(({ subject }) => subject),
      starts: asked.map(({ startMs }) => startMs),
      ends: asked.map(({ endMs }) => endMs),
    },
  )
  return rows.flatMap(({ place, found: [quantity, events, digest] }) => {
    const request = requests[place]
    const usage = { quantity: parseSum(quantity), events: Number(events), digest: BigInt(digest) }
    return request ? [[request.key, usage] as [string, MeteredUsage]] : []
  })
}
