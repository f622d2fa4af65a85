import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { parseQuantity, ZERO } from '../../schemas/quantity.ts'
import type { MeteredUsage, UsageReader, UsageRequest } from './usage.ts'

/** Subjects named in one statement at most: its text stays below ClickHouse's limit of 256 KiB. */
const SUBJECTS_PER_QUERY = 1_000
const NOTHING: MeteredUsage = { quantity: ZERO, events: 0, digest: 0n }
const DIGEST_MODULUS = 1n << 128n

/** Reads the exact-usage view: one statement for all requests with the same meter and period. */
export function createClickHouseUsageReader(store: ClickHouseStore): UsageReader {
  return {
    quantities: async (tenantId, knownBefore, requests) => {
      const usage = new Map<string, MeteredUsage>(requests.map((request) => [request.key, NOTHING]))
      for (const alike of groupAlike(requests)) {
        const bySubject = await readSubjects(store, tenantId, knownBefore, alike)
        for (const { key, subjects } of alike) {
          usage.set(key, subjects.map((subject) => bySubject.get(subject) ?? NOTHING).reduce(sumOf, NOTHING))
        }
      }
      return usage
    },
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
  for (let from = 0; from < subjects.length; from += SUBJECTS_PER_QUERY) {
    const part = subjects.slice(from, from + SUBJECTS_PER_QUERY)
    for (const [subject, usage] of await readPart(store, tenantId, knownBefore, alike[0], part))
      bySubject.set(subject, usage)
  }
  return bySubject
}

async function readPart(
  store: ClickHouseStore,
  tenantId: TenantId,
  knownBefore: Date,
  { meter, startMs, endMs }: UsageRequest,
  subjects: readonly string[],
): Promise<[string, MeteredUsage][]> {
  const rows = await store.query<{ subject: string; quantity_text: string; events_text: string; digest_text: string }>(
    `SELECT subject, toString(sum(quantity)) AS quantity_text, toString(sum(events)) AS events_text,
       toString(sumWithOverflow(digest)) AS digest_text
     FROM exact_usage(tenant = {tenant:UInt32}, meter = {meter:String}, from_ms = {from_ms:Int64}, to_ms = {to_ms:Int64},
       as_of_ms = {as_of_ms:Int64})
     WHERE subject IN {subjects:Array(String)}
     GROUP BY subject`,
    { tenant: tenantId, meter, from_ms: startMs, to_ms: endMs, as_of_ms: knownBefore.getTime(), subjects },
  )
  return rows.map((row) => [
    row.subject,
    { quantity: parseQuantity(row.quantity_text), events: Number(row.events_text), digest: BigInt(row.digest_text) },
  ])
}

function sumOf(a: MeteredUsage, b: MeteredUsage): MeteredUsage {
  return {
    quantity: a.quantity.plus(b.quantity),
    events: a.events + b.events,
    digest: (a.digest + b.digest) % DIGEST_MODULUS,
  }
}
