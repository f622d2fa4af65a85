import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import { OPERATION_PREFIX } from '../../schemas/event/operation.ts'
import type { TenantId } from '../../schemas/http/door.ts'

/** Times from `fromMs` until before `toMs`. */
export type Period = { fromMs: number; toMs: number }

/** `clean`: usage is answered from the rollup that `run` wrote, as of now. */
export type ShardState = { shard: number; run: string; progress: string; clean: boolean }

/** How far each shard has come; with `shards` those alone. */
export async function shardStates(
  store: ClickHouseStore,
  tenant: TenantId,
  shards: readonly number[] = [],
): Promise<ShardState[]> {
  const rows = await store.query<{ shard_text: string; run_text: string; progress_text: string; clean: number }>(
    `SELECT toString(shard) AS shard_text, toString(run) AS run_text, toString(progress) AS progress_text,
       NOT dirty AND run > 0 AND version >= bitShiftLeft(toUInt64((
         SELECT max(revision) FROM meter_versions WHERE tenant = {tenant:UInt32})), 40) AS clean
     FROM shard_state(tenant = {tenant:UInt32})
     WHERE empty({shards:Array(UInt64)}) OR shard IN {shards:Array(UInt64)}
     ORDER BY shard`,
    { tenant, shards },
  )
  return rows.map((row) => ({
    shard: Number(row.shard_text),
    run: row.run_text,
    progress: row.progress_text,
    clean: Boolean(row.clean),
  }))
}

/** What a shard holds of a meter in a period. `rows` is a sum of hashes: of every usage row with all that it says. */
export type ShardUsage = {
  shard: number
  meter: string
  quantity: string
  events: string
  digest: string
  rows: string
  /** Quantities of several rows add up; those of the other aggregations do not. */
  additive: boolean
}
type UsageRow = Omit<ShardUsage, 'shard' | 'additive'> & { shard_text: string; additive: number }

/** Columns that usage rows of a shard are told apart by. */
const KEY = 'meter, subject, bucket, group_values, known_hour, shard, item'
const IN_PERIOD = `bucket >= toDateTime(intDiv({from_ms:Int64}, 1000), 'UTC')
  AND bucket < toDateTime(intDiv({to_ms:Int64}, 1000), 'UTC')`
const summed = (from: string) => `
  SELECT toString(shard) AS shard_text, meter, toString(sum(row_quantity)) AS quantity,
    toString(sum(row_events)) AS events, toString(sumWithOverflow(row_digest)) AS digest,
    toString(sumWithOverflow(sipHash64(
      subject, bucket, group_values, known_hour, item, toString(row_quantity), row_events, row_digest))) AS rows,
    max(row_key) = 0 OR meter = '' AS additive
  FROM (${from})
  GROUP BY shard, meter
  ORDER BY shard, meter`

/** Usage of the shards as their events give it: what a rebuild would write now. */
export async function usageFromEvents(
  store: ClickHouseStore,
  tenant: TenantId,
  { fromMs, toMs }: Period,
  shards: readonly number[],
): Promise<ShardUsage[]> {
  const rows = await store.query<UsageRow>(
    summed(`
      SELECT ${KEY}, if(meter = '' OR max(last_key) = 0, sum(quantity), argMax(quantity, last_key)) AS row_quantity,
        sum(events) AS row_events, sumWithOverflow(digest) AS row_digest, max(last_key) AS row_key
      FROM usage_rows(tenant = {tenant:UInt32}, meter = '*', as_of_ms = {now:Int64}, shards = {shards:Array(UInt64)})
      WHERE ${IN_PERIOD}
      GROUP BY ${KEY}`),
    { tenant, shards, from_ms: fromMs, to_ms: toMs, now: KNOWN_UNTIL_NOW_MS },
  )
  return rows.map(toUsage)
}

/** Usage of the shards as the rows of their heads give it. */
export async function usageFromRollup(
  store: ClickHouseStore,
  tenant: TenantId,
  { fromMs, toMs }: Period,
  heads: readonly ShardState[],
): Promise<ShardUsage[]> {
  const rows = await store.query<UsageRow>(
    summed(`
      SELECT ${KEY}, quantity AS row_quantity, events AS row_events, digest AS row_digest, last_key AS row_key
      FROM usage_rollup
      WHERE tenant = {tenant:UInt32} AND ${IN_PERIOD}
        AND (shard, run) IN arrayZip({shards:Array(UInt64)}, CAST({runs:Array(String)}, 'Array(UInt64)'))`),
    {
      tenant,
      from_ms: fromMs,
      to_ms: toMs,
      shards: heads.map((head) => head.shard),
      runs: heads.map((head) => head.run),
    },
  )
  return rows.map(toUsage)
}

function toUsage({ shard_text, additive, ...same }: UsageRow): ShardUsage {
  return { shard: Number(shard_text), additive: Boolean(additive), ...same }
}

/** Number and digest of identities: of the period by the time of their first copy, and of those known before W. */
export type ShardIdentities = {
  shard: number
  inPeriod: { events: string; digest: string }
  sealed: { events: string; digest: string }
}

/** Straight from the raw events: no view stands in between. */
export async function identitiesOf(
  store: ClickHouseStore,
  tenant: TenantId,
  { fromMs, toMs }: Period,
  knownBeforeMs: number,
  shards: readonly number[],
): Promise<ShardIdentities[]> {
  const rows = await store.query<
    Record<'shard_text' | 'events' | 'digest' | 'sealed_events' | 'sealed_digest', string>
  >(
    `SELECT toString(shard) AS shard_text,
       toString(countIf(in_period)) AS events, toString(sumWithOverflowIf(hash, in_period)) AS digest,
       toString(countIf(sealed)) AS sealed_events, toString(sumWithOverflowIf(hash, sealed)) AS sealed_digest
     FROM (
       SELECT shard,
         reinterpretAsUInt128(sipHash128Reference(tenant, source, id)) AS hash,
         argMax(toUnixTimestamp64Milli(time), version) AS time_ms,
         time_ms >= {from_ms:Int64} AND time_ms < {to_ms:Int64} AS in_period,
         toUnixTimestamp64Milli(min(known_at)) < {known_before_ms:Int64} AS sealed
       FROM events
       WHERE tenant = {tenant:UInt32} AND shard IN {shards:Array(UInt64)} AND NOT startsWith(type, '${OPERATION_PREFIX}')
       GROUP BY tenant, shard, source, id
     )
     GROUP BY shard`,
    { tenant, shards, from_ms: fromMs, to_ms: toMs, known_before_ms: knownBeforeMs },
  )
  return rows.map((row) => ({
    shard: Number(row.shard_text),
    inPeriod: { events: row.events, digest: row.digest },
    sealed: { events: row.sealed_events, digest: row.sealed_digest },
  }))
}

/** What is stored of each partition of the logs: dense up to `end`; `last` is the furthest. */
export type StoredLog = { log: string; partition: number; end: number; last: number }

export async function storedLogs(store: ClickHouseStore): Promise<StoredLog[]> {
  const logs = await store.query<{ log: string }>('SELECT DISTINCT log FROM ingest_ranges ORDER BY log')
  const stored: StoredLog[] = []
  for (const { log } of logs) {
    const rows = await store.query<{ partition: number; end_text: string; last_text: string }>(
      `SELECT partition, toString(end) AS end_text, toString(last) AS last_text
       FROM stored_ends(log = {log:String}) AS ends
       JOIN (
         SELECT partition, max(next_offset) AS last FROM ingest_ranges WHERE log = {log:String} GROUP BY partition
       ) AS furthest USING (partition)
       ORDER BY partition`,
      { log },
    )
    for (const row of rows) {
      stored.push({ log, partition: row.partition, end: Number(row.end_text), last: Number(row.last_text) })
    }
  }
  return stored
}

/** Dead letters that were replayed since: their events are known before W, and came after the seal. */
export async function replaysSince(store: ClickHouseStore, tenant: TenantId, sinceMs: number): Promise<number> {
  const [row] = await store.query<{ replays: string }>(
    `SELECT toString(count()) AS replays FROM dead_letter_replays FINAL
     WHERE tenant IN (0, {tenant:UInt32}) AND replayed_at > fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')`,
    { tenant, since_ms: sinceMs },
  )
  return Number(row?.replays ?? 0)
}
