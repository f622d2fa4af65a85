import { readAggregations } from '../../schemas/clickhouse/aggregations.clickhouse.ts'
import { isAdditive } from '../../schemas/clickhouse/quantity-of.ts'
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
 * Reads the exact-usage view: one statement for all requests with the same meter and period. Where the usage of several
 * subjects is not the sum of theirs, subjects are read together, request by request within the statement.
 */
export function createClickHouseUsageReader(store: ClickHouseStore): UsageReader {
  return {
    quantities: async (tenantId, knownBefore, requests) => {
      const usage = new Map<string, MeteredUsage>(requests.map((request) => [request.key, NOTHING]))
      const meters = [...new Set(requests.map((request) => request.meter))]
      const aggregations = await readAggregations(store, tenantId, meters)
      const readAlike = async (alike: [UsageRequest, ...UsageRequest[]]): Promise<void> => {
        const aggregated = aggregations.get(alike[0].meter)
        // Postgres has the meter and ClickHouse not yet: usage that could not be read is never 0.
        if (!aggregated)
          throw new Problem('unavailable', `Meter ${alike[0].meter} is not known to the usage store yet.`)
        if (!isAdditive(aggregated)) {
          const together = await readTogether(store, tenantId, knownBefore, aggregated, alike)
          for (const [key, found] of together) usage.set(key, found)
          return
        }
        const bySubject = await readSubjects(store, tenantId, knownBefore, alike)
        for (const { key, subjects } of alike) {
          usage.set(key, subjects.map((subject) => bySubject.get(subject) ?? NOTHING).reduce(sumOf, NOTHING))
        }
      }
      // At once: to plan a statement takes longer than to read what it finds. The store bounds how many.
      await Promise.all(groupAlike(requests).map(readAlike))
      return usage
    },
    identityTotals: (tenantId, knownBefore) => readIdentityTotals(store, tenantId, knownBefore),
  }
}

function groupAlike(requests: readonly UsageRequest[]): [UsageRequest, ...UsageRequest[]][] {
  const groups = new Map<string, [UsageRequest, ...UsageRequest[]]>()
  for (const request of requests) {
    const key = `${request.startMs} ${request.endMs} ${request.meter}`
    const group = groups.get(key)
    if (group) group.push(request)
    else groups.set(key, [request])
  }
  return [...groups.values()]
}

async function readSubjects(
  store: ClickHouseStore,
  tenantId: TenantId,
  knownBefore: Date,
  alike: [UsageRequest, ...UsageRequest[]],
): Promise<Map<string, MeteredUsage>> {
  const subjects = [...new Set(alike.flatMap((request) => request.subjects))]
  const bySubject = new Map<string, MeteredUsage>()
  for (const part of partsOf(subjects)) {
    for (const [subject, usage] of await readPart(store, tenantId, knownBefore, alike[0], part))
      bySubject.set(subject, usage)
  }
  return bySubject
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

async function readPart(
  store: ClickHouseStore,
  tenantId: TenantId,
  knownBefore: Date,
  { meter, startMs, endMs }: UsageRequest,
  subjects: readonly string[],
): Promise<[string, MeteredUsage][]> {
  const rows = await store.query<{ subject: string; quantity_text: string; events_text: string; digest_text: string }>(
    // Wider than what is summed, so that no sum overflows: what is too much for an invoice is for rating to say.
    `SELECT subject, toString(sum(toDecimal256(quantity, 12))) AS quantity_text, toString(sum(events)) AS events_text,
       toString(sumWithOverflow(digest)) AS digest_text
     FROM usage_rows(tenant = {tenant:UInt32}, meter = {meter:String}, as_of_ms = {as_of_ms:Int64}, shards = [])
     -- As exact_usage does, whose own layer costs a third of the planning.
     WHERE bucket >= toDateTime(intDiv({from_ms:Int64}, 1000), 'UTC')
       AND bucket < toDateTime(intDiv({to_ms:Int64}, 1000), 'UTC')
       AND subject IN {subjects:Array(String)}
     GROUP BY subject`,
    { tenant: tenantId, meter, from_ms: startMs, to_ms: endMs, as_of_ms: knownBefore.getTime(), subjects },
  )
  return rows.map((row) => [
    row.subject,
    { quantity: parseSum(row.quantity_text), events: Number(row.events_text), digest: BigInt(row.digest_text) },
  ])
}

async function readIdentityTotals(
  store: ClickHouseStore,
  tenantId: TenantId,
  knownBefore: Date,
): Promise<IdentityTotals> {
  const rows = await store.query<{ events_text: string; digest_text: string }>(
    `SELECT toString(sum(events)) AS events_text, toString(sumWithOverflow(digest)) AS digest_text
     FROM usage_rows(tenant = {tenant:UInt32}, meter = '', as_of_ms = {as_of_ms:Int64}, shards = [])`,
    { tenant: tenantId, as_of_ms: knownBefore.getTime() },
  )
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
