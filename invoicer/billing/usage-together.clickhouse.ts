import { type UsageTable, withUsage } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type Aggregated, quantityOf, readsFromBefore } from '../../schemas/clickhouse/quantity-of.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { parseSum } from '../../schemas/quantity.ts'
import type { MeteredUsage, UsageRequest } from './usage.ts'

/** As for additive meters: by number and as text, what one statement may name. */
const SUBJECTS_PER_STATEMENT = 1_000
const BYTES_PER_STATEMENT = 64 * 1024

/**
 * The usage of each request over all its subjects and parts at once, for meters whose quantities do not add up. All
 * requests have the same meter, period and parts; one statement answers many of them.
 */
export async function readTogether(
  store: ClickHouseStore,
  tenantId: TenantId,
  asOfMs: number,
  aggregated: Aggregated,
  alike: Requests,
): Promise<Map<string, MeteredUsage>> {
  const found = new Map<string, MeteredUsage>()
  const [{ meter, startMs, endMs: toMs }] = alike
  await withUsage(store, { tenant: tenantId, meters: [meter], asOfMs }, async (usageOf) => {
    for (const part of partsOf(alike.filter((request) => request.subjects.length > 0))) {
      const subjects = [...new Set(part.flatMap((request) => request.subjects))]
      const table = usageOf({ toMs, subjects, ...(readsFromBefore(aggregated) ? {} : { fromMs: startMs }) })
      for (const [key, usage] of await readPart(store, table, aggregated, part)) found.set(key, usage)
    }
  })
  return found
}

export type Requests = [UsageRequest, ...UsageRequest[]]

/** A request is never cut, however many subjects it has, since its quantity is one: too many for a statement fail. */
export function partsOf(requests: readonly UsageRequest[]): Requests[] {
  const parts: Requests[] = []
  let [subjects, bytes] = [0, 0]
  for (const request of requests) {
    const size = request.subjects.reduce((sum, subject) => sum + 2 * Buffer.byteLength(subject) + 16, 0)
    const last = parts.at(-1)
    if (last && subjects + request.subjects.length <= SUBJECTS_PER_STATEMENT && bytes + size <= BYTES_PER_STATEMENT) {
      last.push(request)
      subjects += request.subjects.length
      bytes += size
    } else {
      parts.push([request])
      subjects = request.subjects.length
      bytes = size
    }
  }
  return parts
}

const WITHIN_PARTS = `
  WHERE arrayExists((start_ms, end_ms) -> bucket >= toDateTime(intDiv(start_ms, 1000), 'UTC')
    AND bucket < toDateTime(intDiv(end_ms, 1000), 'UTC'), {starts:Array(Int64)}, {ends:Array(Int64)})`

async function readPart(
  store: ClickHouseStore,
  table: UsageTable,
  aggregated: Aggregated,
  requests: Requests,
): Promise<[string, MeteredUsage][]> {
  const [{ startMs, endMs, parts = [], averagedOverMs = endMs - startMs }] = requests
  const fromBefore = readsFromBefore(aggregated)
  const within = fromBefore ? 'bucket >= fromUnixTimestamp64Milli({start_ms:Int64})' : 'true'
  const span = { startMs: '{start_ms:Int64}', endMs: '{end_ms:Int64}', overMs: '{over_ms:Int64}' }
  const pairs = requests.flatMap(({ subjects }, place) => [...new Set(subjects)].map((subject) => ({ subject, place })))
  const rows = await store.query<{ place: number; found: [string, string, string] }>(
    `SELECT place, [
       toString(${quantityOf(aggregated, span)}),
       toString(sumIf(events, ${within})),
       toString(sumWithOverflowIf(digest, ${within}))
     ] AS found
     FROM ${table.sql} AS usage
     INNER JOIN (
       SELECT pair.1 AS place, pair.2 AS subject
       FROM (SELECT arrayJoin(arrayZip({places:Array(UInt32)}, {subjects:Array(String)})) AS pair)
     ) AS asked USING (subject)
     ${parts.length > 0 ? WITHIN_PARTS : ''}
     GROUP BY place`,
    {
      ...table.params,
      start_ms: startMs,
      end_ms: endMs,
      over_ms: averagedOverMs,
      ...(parts.length > 0 ? { starts: parts.map((part) => part.startMs), ends: parts.map((part) => part.endMs) } : {}),
      places: pairs.map(({ place }) => place),
      subjects: pairs.map(({ subject }) => subject),
    },
  )
  return rows.flatMap(({ place, found: [quantity, events, digest] }) => {
    const request = requests[place]
    const usage = { quantity: parseSum(quantity), events: Number(events), digest: BigInt(digest) }
    return request ? [[request.key, usage] as [string, MeteredUsage]] : []
  })
}
