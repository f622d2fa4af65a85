import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { OPERATION_PREFIX, REPLACE_TYPE } from '../../../schemas/event/operation.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { IdentityTotals } from '../usage.ts'
import type { EventReader, Identity, IdentityQuery, Meter, MeterVersion, Place } from './events.ts'

/** An event is known at most this long before its time: emitters' clocks may be 5 minutes ahead, and ours may differ. */
const KNOWN_BEFORE_TIME_MS = 3_600_000
/** What one statement may name; with more, events of all subjects are read. */
const MOST_SUBJECTS = 1_000
const MOST_SUBJECT_BYTES = 32 * 1024
/** The last version of a meter has no end. */
const NEVER_MS = Number.POSITIVE_INFINITY

const HASH = 'reinterpretAsUInt128(sipHash128Reference(tenant, source, id))'
const ORDINARY = `NOT startsWith(type, '${OPERATION_PREFIX}')`

export function createClickHouseEventReader(store: ClickHouseStore): EventReader {
  return {
    meter: (tenantId, slug) => readMeter(store, tenantId, slug),
    identities: (tenantId, query, after, limit) => readIdentities(store, tenantId, query, after, limit),
    sealed: (tenantId, knownBeforeMs) => countSealed(store, tenantId, knownBeforeMs),
  }
}

/** A shard holds about 10,000 events, and a statement has half a minute. */
const SHARDS_AT_ONCE = 500
const DIGEST_MODULUS = 1n << 128n

async function countSealed(store: ClickHouseStore, tenant: TenantId, knownBeforeMs: number): Promise<IdentityTotals> {
  const [first] = await store.query<{ starts: string[] }>(
    `SELECT arrayFilter((shard, place) -> place % ${SHARDS_AT_ONCE} = 0, shards, arrayEnumerate(shards)) AS starts
     FROM (
       SELECT arrayMap(shard -> toString(shard), arraySort(groupUniqArray(shard))) AS shards
       FROM shard_changes WHERE tenant = {tenant:UInt32}
     )`,
    { tenant },
  )
  const starts = ['0', ...(first?.starts ?? [])]
  const totals = { events: 0, digest: 0n }
  // Ranges that leave nothing out, also of shards that are not marked as they should be.
  for (const [place, from] of starts.entries()) {
    const until = starts[place + 1]
    // In the order of the table, so that memory does not grow with the tenant.
    const [row] = await store.query<{ events: string; digest: string }>(
      `SELECT toString(count()) AS events, toString(sumWithOverflow(hash)) AS digest FROM (
         SELECT ${HASH} AS hash FROM events
         WHERE tenant = {tenant:UInt32} AND known_at < fromUnixTimestamp64Milli({known_before_ms:Int64}, 'UTC')
           AND shard >= {from:UInt64} ${until === undefined ? '' : 'AND shard < {until:UInt64}'} AND ${ORDINARY}
         GROUP BY tenant, shard, source, id
         SETTINGS optimize_aggregation_in_order = 1
       )`,
      { tenant, known_before_ms: knownBeforeMs, from, until: until ?? '' },
    )
    totals.events += Number(row?.events ?? 0)
    totals.digest = (totals.digest + BigInt(row?.digest ?? 0)) % DIGEST_MODULUS
  }
  return totals
}

async function readMeter(store: ClickHouseStore, tenant: TenantId, slug: string): Promise<Meter | undefined> {
  const rows = await store.query<Record<'aggregation' | 'window' | 'percentile' | 'type' | 'from_ms' | Form, string>>(
    `SELECT aggregation, window, percentile, event_type AS type,
       toString(toUnixTimestamp64Milli(effective_from)) AS from_ms, value_json, filter_json
     FROM meter_versions FINAL
     WHERE tenant = {tenant:UInt32} AND meter = {meter:String}
     ORDER BY version`,
    { tenant, meter: slug },
  )
  const [first] = rows
  if (first === undefined) return undefined
  const versions = rows.map((row, place): MeterVersion => {
    const next = rows[place + 1]
    return {
      fromMs: Number(row.from_ms),
      untilMs: next === undefined ? NEVER_MS : Number(next.from_ms),
      eventType: row.type,
      value: JSON.parse(row.value_json),
      filter: JSON.parse(row.filter_json),
    }
  })
  return {
    slug,
    aggregation: first.aggregation as Meter['aggregation'],
    window: (first.window || undefined) as Meter['window'],
    percentile: first.percentile || undefined,
    versions,
  }
}
type Form = 'value_json' | 'filter_json'

type IdentityRow = {
  shard_text: string
  source: string
  id: string
  hash: string
  copies: number
  first: [type: string, subject: string, timeMs: string, dataJson: string, version: string, knownAtMs: string]
  operations: [version: string, type: string, dataJson: string][]
}

/**
 * First the places, of which as many are found as wanted, then all rows of those: an operation or another copy need not
 * name the subject. `shard_changes` says which shards anything came to since the period began.
 */
async function readIdentities(
  store: ClickHouseStore,
  tenant: TenantId,
  { subjects, fromMs, knownBeforeMs }: IdentityQuery,
  after: Place | undefined,
  limit: number,
): Promise<Identity[]> {
  const named = subjects.length <= MOST_SUBJECTS && Buffer.byteLength(subjects.join()) <= MOST_SUBJECT_BYTES
  const known = `tenant = {tenant:UInt32} AND known_at < fromUnixTimestamp64Milli({known_before_ms:Int64}, 'UTC')`
  const conditions = [
    known,
    ...(named ? [`(subject IN {subjects:Array(String)} OR type = '${REPLACE_TYPE}')`] : []),
    ...(after
      ? ['shard >= {shard:UInt64} AND (shard, source, id) > ({shard:UInt64}, {source:String}, {id:String})']
      : []),
    ...(fromMs === undefined
      ? []
      : [
          `shard IN (
             SELECT shard FROM shard_changes
             WHERE tenant = {tenant:UInt32}
               AND known_hour >= toStartOfHour(fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')))`,
        ]),
  ]
  const rows = await store.query<IdentityRow>(
    `SELECT toString(shard) AS shard_text, source, id, toString(${HASH}) AS hash, countIf(${ORDINARY}) AS copies,
       argMaxIf(
         [toString(type), subject, toString(toUnixTimestamp64Milli(time)), data, toString(version),
          toString(toUnixTimestamp64Milli(known_at))],
         version, ${ORDINARY}) AS first,
       groupArrayIf([toString(version), toString(type), data], NOT (${ORDINARY})) AS operations
     FROM events
     WHERE ${known} AND (shard, source, id) IN (
       SELECT shard, source, id FROM events
       WHERE ${conditions.join(' AND ')}
       ORDER BY tenant, shard, source, id
       LIMIT 1 BY tenant, shard, source, id
       LIMIT {limit:UInt32})
     GROUP BY tenant, shard, source, id
     ORDER BY shard, source, id`,
    {
      tenant,
      known_before_ms: knownBeforeMs,
      subjects: named ? subjects : [],
      since_ms: Math.max(0, (fromMs ?? 0) - KNOWN_BEFORE_TIME_MS),
      limit,
      ...(after ?? {}),
    },
  )
  return rows.map(identityOf)
}

function identityOf({ shard_text: shard, source, id, hash, copies, first, operations }: IdentityRow): Identity {
  const [type, subject, timeMs, dataJson, version, knownAtMs] = first
  return {
    ...{ shard, source, id, hash: BigInt(hash) },
    first:
      Number(copies) === 0
        ? undefined
        : {
            ...{ type, subject, timeMs: Number(timeMs), dataJson },
            ...{ version: BigInt(version), knownAtMs: Number(knownAtMs) },
          },
    operations: operations.map(([at, kind, json]) => ({ version: BigInt(at), type: kind, dataJson: json })),
  }
}
