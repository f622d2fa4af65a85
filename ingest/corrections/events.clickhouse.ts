import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { shardOf } from '../../schemas/event/identity.ts'
import { OPERATION_PREFIX, REPLACE_TYPE, VOID_TYPE } from '../../schemas/event/operation.ts'
import type { TenantId } from '../../schemas/http/door.ts'

/** Which events a filter means, by what they count as; of times from `fromMs` until before `toMs`. */
export type EventFilter = { type?: string; subject?: string; source?: string; fromMs: number; toMs: number }
export type FoundEvent = {
  source: string
  id: string
  type: string
  subject: string
  time: string
  data: string
  known_at: string
}

const isoTime = (column: string) => `replaceOne(toString(${column}), ' ', 'T') || 'Z'`
/** As the aggregator packs them into an event's version. */
const PARTITION = 'toUInt32(bitAnd(bitShiftRight(bitNot(version), 64), toUInt128(1048575)))'
const OFFSET = 'toUInt64(bitAnd(bitShiftRight(bitNot(version), 20), toUInt128(17592186044415)))'
const IS_OPERATION = `startsWith(type, '${OPERATION_PREFIX}')`

/**
 * What the log held at a moment. By its places, because clocks differ: what is appended afterwards may be stamped with
 * the same time or an earlier one. Times tell other logs' events, whose places say nothing: those of earlier logs from
 * this one's, and this one's from those of later ones.
 */
export type Held = { ends: readonly number[]; earlierUntilMs: number; beforeMs: number }
/** Which events are looked at: what the log held, and without what an operation did to them, itself or its copies. */
export type AsOf = { held: Held; withoutOperation: string }

/** What is held of a log, and of those before it, when everything before these ends is stored. */
export async function heldBefore(store: ClickHouseStore, log: string, ends: readonly number[]): Promise<Held> {
  const [row] = await store.query<{ newest: string; earlier: string }>(
    `SELECT toString(toUnixTimestamp64Milli(max(known_at))) AS newest,
       toString(toUnixTimestamp64Milli(maxIf(known_at, log != {log:String}))) AS earlier
     FROM ingest_ranges`,
    { log },
  )
  return { ends, earlierUntilMs: Number(row?.earlier ?? 0), beforeMs: Number(row?.newest ?? 0) + 1 }
}

/**
 * The events that a filter means, as they count: those that are voided count as nothing. An event's payload is that of
 * the operation known last, copies of one operation being known when the first of them was; without any, that of its
 * first copy. Only shards that hold a copy of such a time, or a replacement, are read.
 */
const FOUND = `
  SELECT source, id, type, subject, time, data, known_at
  FROM (
    SELECT
      shard, source, id,
      countIf(NOT is_operation) AS copies,
      minIf(first_known_at, NOT is_operation) AS known_at,
      argMinIf(said, first_version, is_operation) AS operation_said,
      if(countIf(is_operation) = 0, anyIf(said, NOT is_operation), (
        JSONExtractString(operation_said.4, 'type'),
        JSONExtractString(operation_said.4, 'subject'),
        parseDateTime64BestEffortOrZero(JSONExtractString(operation_said.4, 'time'), 3, 'UTC'),
        JSONExtractRaw(operation_said.4, 'data'))) AS counted,
      counted.1 AS type, counted.2 AS subject, counted.3 AS time, counted.4 AS data
    FROM (
      SELECT
        shard, source, id,
        ${IS_OPERATION} AS is_operation,
        if(is_operation, JSONExtractString(events.data, 'operation'), '') AS operation,
        max(version) AS first_version,
        min(events.known_at) AS first_known_at,
        argMax((toString(events.type), events.subject, events.time, events.data), version) AS said
      FROM events
      WHERE tenant = {tenant:UInt32} AND events.known_at < fromUnixTimestamp64Milli({as_of_ms:Int64}, 'UTC')
        AND (
          events.known_at <= fromUnixTimestamp64Milli({earlier_ms:Int64}, 'UTC')
          OR ${OFFSET} < {ends:Array(UInt64)}[${PARTITION} + 1])
        AND ({source:String} = '' OR source = {source:String})
        AND NOT (is_operation AND operation = {without:String})
        AND shard IN (
          SELECT shard FROM events
          WHERE tenant = {tenant:UInt32} AND (
            type = '${REPLACE_TYPE}' OR (
              time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
              AND time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC'))))
      GROUP BY shard, source, id, is_operation, operation
    )
    GROUP BY shard, source, id
  )
  WHERE copies > 0 AND operation_said.1 != '${VOID_TYPE}'
    AND ({type:String} = '' OR type = {type:String})
    AND ({subject:String} = '' OR subject = {subject:String})
    AND time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
    AND time < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')`

function paramsOf(tenant: TenantId, filter: EventFilter, { held, withoutOperation }: AsOf) {
  const { type = '', subject = '', source = '', fromMs, toMs } = filter
  const times = { from_ms: fromMs, to_ms: toMs, as_of_ms: held.beforeMs, earlier_ms: held.earlierUntilMs }
  return { tenant, type, subject, source, ...times, ends: held.ends, without: withoutOperation }
}

export async function countFound(
  store: ClickHouseStore,
  tenant: TenantId,
  filter: EventFilter,
  asOf: AsOf,
): Promise<number> {
  const sql = `SELECT toString(count()) AS found FROM (${FOUND})`
  const [row] = await store.query<{ found: string }>(sql, paramsOf(tenant, filter, asOf))
  return Number(row?.found ?? 0)
}

/** The first of them, by their time. */
export async function sampleFound(
  store: ClickHouseStore,
  tenant: TenantId,
  filter: EventFilter,
  asOf: AsOf,
  limit: number,
): Promise<FoundEvent[]> {
  return store.query<FoundEvent>(
    `SELECT source, id, type, subject, ${isoTime('found.time')} AS time, data, ${isoTime('found.known_at')} AS known_at
     FROM (${FOUND}) AS found ORDER BY found.time, source, id LIMIT {limit:UInt32}`,
    { ...paramsOf(tenant, filter, asOf), limit },
  )
}

export async function findIdentities(
  store: ClickHouseStore,
  tenant: TenantId,
  filter: EventFilter,
  asOf: AsOf,
  limit: number,
): Promise<{ source: string; id: string }[]> {
  return store.query(`SELECT source, id FROM (${FOUND}) LIMIT {limit:UInt32}`, {
    ...paramsOf(tenant, filter, asOf),
    limit,
  })
}

/** A row of an event or of an operation on it. */
export type StoredRow = {
  type: string
  subject: string
  time: string
  time_given: boolean
  data: string
  known_at: string
}

/**
 * What is known of one identity, the first known first; copies alike in payload are one. Of copies the first
 * `mostCopies`, of operations all: the last says how the event counts, and whose it is.
 */
export async function rowsOfEvent(
  store: ClickHouseStore,
  tenant: TenantId,
  source: string,
  id: string,
  mostCopies: number,
): Promise<StoredRow[]> {
  return store.query<StoredRow>(
    `SELECT toString(type) AS type, subject, ${isoTime('events.time')} AS time, time_given, data,
       ${isoTime('events.known_at')} AS known_at
     FROM events FINAL
     WHERE tenant = {tenant:UInt32} AND shard = {shard:UInt64} AND source = {source:String} AND id = {id:String}
     ORDER BY version DESC LIMIT {most_copies:UInt32} BY if(${IS_OPERATION}, toString(version), '')`,
    { tenant, source, id, shard: shardOf({ tenant, source, id }), most_copies: mostCopies },
  )
}

export type WaitingRow = { source: string; id: string; type: string; data: string; known_at: string }

/** Operations known since then whose event is not known; the first of each, the oldest first. */
export async function waitingOperations(
  store: ClickHouseStore,
  tenant: TenantId,
  sinceMs: number,
  limit: number,
): Promise<WaitingRow[]> {
  return store.query<WaitingRow>(
    `WITH waiting AS (
       SELECT shard, source, id, type, data, known_at, version FROM events
       WHERE tenant = {tenant:UInt32} AND ${IS_OPERATION}
         AND known_at >= fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')
     )
     SELECT source, id, argMax(toString(waiting.type), version) AS type, argMax(waiting.data, version) AS data,
       ${isoTime('min(waiting.known_at)')} AS known_at
     FROM waiting
     WHERE (shard, source, id) NOT IN (
       SELECT shard, source, id FROM events
       WHERE tenant = {tenant:UInt32} AND shard IN (SELECT shard FROM waiting) AND NOT ${IS_OPERATION}
     )
     GROUP BY shard, source, id, JSONExtractString(waiting.data, 'operation')
     ORDER BY max(version) DESC LIMIT {limit:UInt32}`,
    { tenant, since_ms: sinceMs, limit },
  )
}
