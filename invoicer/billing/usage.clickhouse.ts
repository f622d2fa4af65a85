import { readChangedSubjects } from '../../schemas/clickhouse/changed-usage.clickhouse.ts'
import { type UsageFilter, type UsageTable, withUsage } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type Aggregated, addsUpInTime, isAdditive } from '../../schemas/clickhouse/quantity-of.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { subjectParts } from '../../schemas/clickhouse/subject-parts.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { parseSum } from '../../schemas/quantity.ts'
import { rememberAggregations } from './aggregations.clickhouse.ts'
import {
  addUsage,
  type IdentityTotals,
  type MeteredUsage,
  NO_USAGE,
  type UsageReader,
  type UsageRequest,
} from './usage.ts'
import { readAcrossPeriods } from './usage-across-periods.clickhouse.ts'
import { type Asked, readByEvent } from './usage-by-event.clickhouse.ts'
import { inParts } from './usage-in-parts.ts'
import { readTogether } from './usage-together.clickhouse.ts'

/** Subjects named in one statement at most. */
const SUBJECTS_PER_QUERY = 1_000
/** Of a customer, to be read with others whose periods differ. */
const MOST_ACROSS = 100

/**
 * Reads exact usage: one statement for all requests whose meters add up, since planning one takes longer than reading
 * what it finds. Where the usage of several subjects is not the sum of theirs, subjects are read together,
 * request by request within a statement for each meter.
 */
export function createClickHouseUsageReader(store: ClickHouseStore): UsageReader {
  const aggregationsOf = rememberAggregations(store)
  return {
    quantities: async (tenantId, knownBefore, requests) => {
      const usage = new Map<string, MeteredUsage>()
      const meters = [...new Set(requests.map(meterOf))]
      const aggregations = await aggregationsOf(tenantId, meters)
      // Postgres has the meter and ClickHouse not yet: usage that could not be read is never 0.
      const unknown = meters.find((meter) => !aggregations.has(meter))
      if (unknown !== undefined)
        throw new Problem('unavailable', `Meter ${unknown} is not known to the usage store yet: it is within seconds.`)
      const aggregatedOf = ({ meter }: UsageRequest) => aggregations.get(meter) as Aggregated
      const addsUp = (request: UsageRequest) => isAdditive(aggregatedOf(request))
      const { read, answersOf } = inParts(requests, (request) => addsUpInTime(aggregatedOf(request)))
      const asOfMs = knownBefore.getTime()
      const add = async (added: readonly UsageRequest[]): Promise<void> => {
        if (added.length === 0) return
        const meters = [...new Set(added.map(meterOf))]
        await withUsage(store, { tenant: tenantId, meters, asOfMs }, async (usageOf) => {
          const periods = groupAlike(added, () => '')
          // One period is read by one statement; so are many, unless a customer has too many subjects for one.
          const isAcross = ({ subjects }: UsageRequest) => periods.length > 1 && subjects.length <= MOST_ACROSS
          const across = await readAcrossPeriods(store, usageOf, added.filter(isAcross))
          for (const [key, found] of across) usage.set(key, found)
          for (const alike of groupAlike(
            added.filter((request) => !isAcross(request)),
            () => '',
          )) {
            const found = await readAdditive(store, usageOf, alike)
            for (const { key, meter, subjects } of alike) {
              const usages = subjects.map((subject) => found.get(`${meter} ${subject}`) ?? NO_USAGE)
              usage.set(key, usages.reduce(addUsage, NO_USAGE))
            }
          }
        })
      }
      const addTogether = async (alike: Requests): Promise<void> => {
        const aggregated = aggregatedOf(alike[0])
        for (const [key, found] of await readTogether(store, tenantId, asOfMs, aggregated, alike)) usage.set(key, found)
      }
      const others = groupAlike(
        read.filter((request) => !addsUp(request)),
        ({ meter, parts, averagedOverMs }) => JSON.stringify([meter, parts, averagedOverMs]),
      )
      // At once: the store bounds how many.
      await Promise.all([add(read.filter(addsUp)), ...others.map(addTogether)])
      const totals = answersOf(usage)
      const detailed = requests.filter(({ detail }) => detail !== undefined)
      if (detailed.length === 0) return totals
      const counted = await readDetails(store, tenantId, asOfMs, detailed, totals, addsUp)
      return new Map([...totals, ...counted])
    },
    identityTotals: (tenantId, knownBefore) => readIdentityTotals(store, tenantId, knownBefore),
    changed: (tenantId, changes) => readChangedSubjects(store, { tenant: tenantId, ...changes }),
  }
}

/** Events can be taken one by one where the quantity is their sum; of other meters no plan asks for it. */
function readDetails(
  store: ClickHouseStore,
  tenantId: TenantId,
  asOfMs: number,
  requests: readonly UsageRequest[],
  totals: ReadonlyMap<string, MeteredUsage>,
  addsUp: (request: UsageRequest) => boolean,
): Promise<Map<string, MeteredUsage>> {
  const asked = requests.flatMap(({ detail, ...request }): Asked[] => {
    if (detail === undefined) return []
    const total = totals.get(request.key) ?? NO_USAGE
    const refused = addsUp(request) ? undefined : `Values of meter ${request.meter} do not add up.`
    return [{ request, detail, total, refused }]
  })
  return readByEvent(store, tenantId, asOfMs, asked)
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
  for (const subjects of subjectParts([...new Set(alike.flatMap((request) => request.subjects))], SUBJECTS_PER_QUERY)) {
    for (const [place, usage] of await readPart(store, usageOf({ fromMs, toMs, subjects }))) found.set(place, usage)
  }
  return found
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
