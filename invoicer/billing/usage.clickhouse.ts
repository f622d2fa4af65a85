import { readAggregations } from '../../schemas/clickhouse/aggregations.clickhouse.ts'
import { type UsageFilter, type UsageTable, withUsage } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type Aggregated, isAdditive } from '../../schemas/clickhouse/quantity-of.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { parseSum, ZERO } from '../../schemas/quantity.ts'
import type { IdentityTotals, MeteredUsage, UsageReader, UsageRequest } from './usage.ts'
import { readTogether } from './usage-together.clickhouse.ts'

/** Subjects named in one statement at most, by number and as text: ClickHouse refuses statements beyond 256 KiB. */
const SUBJECTS_PER_QUERY = 1_000
const SUBJECT_BYTES_PER_QUERY = 128 * 1024
/** What stands for one character in the statement's text as two. */
const ESCAPED = /['\\\p{Cc}]/gu
const NOTHING: MeteredUsage = { quantity: ZERO, events: 0, digest: 0n }
const DIGEST_MODULUS = 1n << 128n

/**
 * Reads exact usage: one statement for all requests of a period whose meters add up, since planning one takes longer
 * than reading what it finds. Where the usage of several subjects is not the sum of theirs, subjects are read together,
 * request by request within a statement for each meter.
 */
export function createClickHouseUsageReader(store: ClickHouseStore): UsageReader {
  return {
    quantities: async (tenantId, knownBefore, requests) => {
      const usage = new Map<string, MeteredUsage>(requests.map((request) => [request.key, NOTHING]))
      const meters = [...new Set(requests.map((request) => request.meter))]
      const aggregations = await readAggregations(store, tenantId, meters)
      // Postgres has the meter and ClickHouse not yet: usage that could not be read is never 0.
      const unknown = meters.find((meter) => !aggregations.has(meter))
      if (unknown !== undefined)
        throw new Problem('unavailable', `Meter ${unknown} is not known to the usage store yet: it is within seconds.`)
      const addsUp = ({ meter }: UsageRequest) => isAdditive(aggregations.get(meter) as Aggregated)
      const asOfMs = knownBefore.getTime()
      const add = async (added: readonly UsageRequest[]): Promise<void> => {
        if (added.length === 0) return
        const meters = [...new Set(added.map(meterOf))]
        await withUsage(store, { tenant: tenantId, meters, asOfMs }, async (usageOf) => {
          for (const alike of groupAlike(added, () => '')) {
            const found = await readAdditive(store, usageOf, alike)
            for (const { key, meter, subjects } of alike) {
              const usages = subjects.map((subject) => found.get(`${meter} ${subject}`) ?? NOTHING)
              usage.set(key, usages.reduce(sumOf, NOTHING))
            }
          }
        })
      }
      const addTogether = async (alike: Requests): Promise<void> => {
        const aggregated = aggregations.get(alike[0].meter) as Aggregated
        for (const [key, found] of await readTogether(store, tenantId, asOfMs, aggregated, alike)) usage.set(key, found)
      }
      const others = requests.filter((request) => !addsUp(request))
      // At once: the store bounds how many.
      await Promise.all([add(requests.filter(addsUp)), ...groupAlike(others, meterOf).map(addTogether)])
      return usage
    },
    identityTotals: (tenantId, knownBefore) => readIdentityTotals(store, tenantId, knownBefore),
  }
}

const meterOf = ({ meter }: UsageRequest) => meter

type Requests = [UsageRequest, ...UsageRequest[]]

/** Requests of the same period that are also the same otherwise. */
function groupAlike(requests: readonly UsageRequest[], otherwise: (request: UsageRequest) => string): Requests[] {
  const groups = new Map<string, Requests>()
  for (const request of requests) {
    const key = `${request.startMs} ${request.endMs} ${otherwise(request)}`
    const group = groups.get(key)
    if (group) group.push(request)
    else groups.set(key, [request])
  }
  return [...groups.values()]
}

/** Usage of all that the requests name, by meter and subject. */
async function readAdditive(
  store: ClickHouseStore,
  usageOf: (filter: UsageFilter) => UsageTable,
  alike: Requests,
): Promise<Map<string, MeteredUsage>> {
  const [{ startMs: fromMs, endMs: toMs }] = alike
  const found = new Map<string, MeteredUsage>()
  for (const subjects of partsOf([...new Set(alike.flatMap((request) => request.subjects))])) {
    for (const [place, usage] of await readPart(store, usageOf({ fromMs, toMs, subjects }))) found.set(place, usage)
  }
  return found
}

/** Subjects in their order, in parts that fit a statement. */
export function partsOf(subjects: readonly string[]): string[][] {
  const parts: string[][] = []
  let part: string[] = []
  let partBytes = 0
  for (const subject of subjects) {
    // In the list each has two quotes and a comma.
    const bytes = Buffer.byteLength(subject) + (subject.match(ESCAPED)?.length ?? 0) + 3
    if (part.length === 0 || part.length === SUBJECTS_PER_QUERY || partBytes + bytes > SUBJECT_BYTES_PER_QUERY) {
      part = []
      partBytes = 0
      parts.push(part)
    }
    part.push(subject)
    partBytes += bytes
  }
  return parts
}

async function readPart(store: ClickHouseStore, usage: UsageTable): Promise<[string, MeteredUsage][]> {
  const rows = await store.query<{ place: string; quantity_text: string; events_text: string; digest_text: string }>(
    // Wider than what is summed, so that no sum overflows: what is too much for an invoice is for rating to say.
    `SELECT meter || ' ' || subject AS place, toString(sum(toDecimal256(quantity, 12))) AS quantity_text,
       toString(sum(events)) AS events_text, toString(sumWithOverflow(digest)) AS digest_text
     FROM ${usage.sql}
     GROUP BY meter, subject`,
    usage.params,
  )
  return rows.map((row) => [
    row.place,
    { quantity: parseSum(row.quantity_text), events: Number(row.events_text), digest: BigInt(row.digest_text) },
  ])
}

async function readIdentityTotals(
  store: ClickHouseStore,
  tenantId: TenantId,
  knownBefore: Date,
): Promise<IdentityTotals> {
  const of = { tenant: tenantId, meters: [''], asOfMs: knownBefore.getTime() }
  const rows = await withUsage(store, of, (usageOf) => {
    const { sql, params } = usageOf({ subjects: 'everything' })
    return store.query<{ events_text: string; digest_text: string }>(
      `SELECT toString(sum(events)) AS events_text, toString(sumWithOverflow(digest)) AS digest_text FROM ${sql}`,
      params,
    )
  })
  const [row] = rows
  if (row === undefined) throw new Problem('calculation_failed', 'The usage store did not count its identities.')
  return { events: Number(row.events_text), digest: BigInt(row.digest_text) }
}

function sumOf(a: MeteredUsage, b: MeteredUsage): MeteredUsage {
  return {
    quantity: a.quantity.plus(b.quantity),
    events: a.events + b.events,
    digest: (a.digest + b.digest) % DIGEST_MODULUS,
  }
}
