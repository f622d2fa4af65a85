import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import type { Mark } from '../pump/progress.ts'

export type DeadLetter = {
  log: string
  partition: number
  offset: string
  known_at: string
  reason: string
  bytes_base64: string
}
/** Where a record stands in its log. */
export type Place = { log: string; partition: number; offset: number }

/** Those that nobody could read since. Their bytes stay for ever. */
const WAITING = `
  dead_letters FINAL
  WHERE tenant = {tenant:UInt32} AND (log, partition, log_offset) NOT IN (
    SELECT log, partition, log_offset FROM dead_letter_replays WHERE tenant = {tenant:UInt32})`

/** Log records that could not be read. Whose they are is not known then: tenant 0 stands for that. */
export async function listDeadLetters(store: ClickHouseStore, tenant: TenantId, limit: number): Promise<DeadLetter[]> {
  return store.query<DeadLetter>(
    `SELECT log, partition, toString(log_offset) AS offset,
       replaceOne(toString(known_at), ' ', 'T') || 'Z' AS known_at, reason, bytes_base64
     FROM ${WAITING}
     ORDER BY dead_letters.known_at DESC, partition, log_offset LIMIT {limit:UInt32}`,
    { tenant, limit },
  )
}

export async function countDeadLetters(store: ClickHouseStore, tenant: TenantId): Promise<number> {
  const [row] = await store.query<{ waiting: string }>(`SELECT toString(count()) AS waiting FROM ${WAITING}`, {
    tenant,
  })
  return Number(row?.waiting ?? 0)
}

export type WaitingLetter = Place & { tenant: TenantId; knownAtMs: number; bytes: Buffer }

/** The oldest of them behind a place in the order of their logs, or the one at a place. */
export async function waitingLetters(
  store: ClickHouseStore,
  tenant: TenantId,
  where: { at: Place } | { after: Place },
  limit: number,
): Promise<WaitingLetter[]> {
  const [comparison, { log, partition, offset }] = 'at' in where ? ['=', where.at] : ['>', where.after]
  const rows = await store.query<{ log: string; partition: number; place: string; known_ms: string; bytes: string }>(
    `SELECT log, partition, toString(log_offset) AS place,
       toString(toUnixTimestamp64Milli(known_at)) AS known_ms, bytes_base64 AS bytes
     FROM ${WAITING}
       AND (log, toInt64(partition), toInt64(log_offset)) ${comparison} ({log:String}, {partition:Int64}, {offset:Int64})
     ORDER BY log, partition, log_offset LIMIT {limit:UInt32}`,
    { tenant, log, partition, offset, limit },
  )
  return rows.map((row) => ({
    tenant,
    log: row.log,
    partition: row.partition,
    offset: Number(row.place),
    knownAtMs: Number(row.known_ms),
    bytes: Buffer.from(row.bytes, 'base64'),
  }))
}

/**
 * Makes shards dirty whose rollup may reach beyond the record already: marks of a log of its own that only grow, also
 * when the clock does not.
 */
export async function markChanged(
  store: ClickHouseStore,
  log: string,
  marks: readonly Mark[],
  nowMs: number,
): Promise<void> {
  if (marks.length === 0) return
  await store.command(
    `INSERT INTO shard_changes (tenant, shard, log, partition, known_hour, next_offset)
     SELECT tenant, shard, {log:String} || ' replayed', {partition:UInt32},
       toStartOfHour(fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC')),
       greatest({now_ms:UInt64}, 1 + (
         SELECT max(next_offset) FROM shard_changes
         WHERE tenant IN {tenants:Array(UInt32)} AND shard IN {shards:Array(UInt64)} AND log = {log:String} || ' replayed'))
     FROM (
       SELECT arrayJoin(arrayZip({tenants:Array(UInt32)}, {shards:Array(UInt64)})) AS mark, mark.1 AS tenant, mark.2 AS shard
     )`,
    {
      log,
      partition: marks[0]?.partition ?? 0,
      now_ms: nowMs,
      tenants: marks.map((mark) => mark.tenant),
      shards: marks.map((mark) => mark.shard),
    },
  )
}

export async function noteReplay(
  store: ClickHouseStore,
  { tenant, log, partition, offset }: WaitingLetter,
  events: number,
  nowMs: number,
): Promise<void> {
  await store.command(
    `INSERT INTO dead_letter_replays SELECT {tenant:UInt32}, {log:String}, {partition:UInt32}, {offset:UInt64},
       fromUnixTimestamp64Milli({now_ms:Int64}, 'UTC'), {events:UInt64}`,
    { tenant, log, partition, offset, now_ms: nowMs, events },
  )
}

/** The same letter again: of two with one place the one written last is kept. */
export async function noteReason(store: ClickHouseStore, letter: WaitingLetter, reason: string): Promise<void> {
  const { tenant, log, partition, offset, knownAtMs, bytes } = letter
  await store.command(
    `INSERT INTO dead_letters SELECT {tenant:UInt32}, {log:String}, {partition:UInt32}, {offset:UInt64},
       fromUnixTimestamp64Milli({known_at:Int64}, 'UTC'), {reason:String}, {bytes:String}`,
    { tenant, log, partition, offset, known_at: knownAtMs, reason, bytes: bytes.toString('base64') },
  )
}
