import { definitionsParam, EVERY_EVENT, readDefinitions } from '../../schemas/clickhouse/definitions.clickhouse.ts'
import { ANY_USAGE, arePlain, PLAIN_USAGE } from '../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { readCheckpoint, shardStateSql } from '../../schemas/clickhouse/shard-state.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

export type DirtyShard = { shard: number; progress: string; builtAtMs: number }

/** Shards with events their rollup does not cover, or built before the newest meter; the longest waiting first. */
export async function dirtyShards(store: ClickHouseStore, tenant: TenantId, limit: number): Promise<DirtyShard[]> {
  const { revision } = await startRun(store, tenant)
  const checkpoint = await readCheckpoint(store, tenant)
  const state = shardStateSql({ tenant, checkpoint, revision, asOfMs: KNOWN_UNTIL_NOW_MS })
  const rows = await store.query<{ shard: string; progress: string; built_at_ms: string }>(
    `SELECT toString(shard) AS shard, toString(progress) AS progress,
       toString(toUnixTimestamp64Milli(built_at)) AS built_at_ms
     FROM ${state.sql} AS state
     WHERE dirty OR version < bitShiftLeft({revision:UInt64}, 40)
     ORDER BY state.built_at, state.shard
     LIMIT {limit:UInt32}`,
    { ...state.params, revision, limit },
  )
  return rows.map((row) => ({ shard: Number(row.shard), progress: row.progress, builtAtMs: Number(row.built_at_ms) }))
}

/** How many copies of events each of the shards holds. */
export async function copiesOf(
  store: ClickHouseStore,
  tenant: TenantId,
  shards: readonly number[],
): Promise<Map<number, number>> {
  if (shards.length === 0) return new Map()
  const rows = await store.query<{ shard_text: string; copies: string }>(
    `SELECT toString(shard) AS shard_text, toString(count()) AS copies
     FROM events WHERE tenant = {tenant:UInt32} AND shard IN {shards:Array(UInt64)}
     GROUP BY shard`,
    { tenant, shards },
  )
  return new Map(rows.map((row) => [Number(row.shard_text), Number(row.copies)]))
}

export type RunStart = { startedAtMs: number; revision: number }

/**
 * When a run starts by ClickHouse's clock, the only one that all aggregators share, and the newest revision of the
 * tenant's meters; 0 without meters.
 */
export async function startRun(store: ClickHouseStore, tenant: TenantId): Promise<RunStart> {
  const [row] = await store.query<{ revision: number; started_at_ms: string }>(
    `SELECT max(revision) AS revision, toString(toUnixTimestamp64Milli(now64(3))) AS started_at_ms
     FROM meter_versions WHERE tenant = {tenant:UInt32}`,
    { tenant },
  )
  return { startedAtMs: Number(row?.started_at_ms), revision: row?.revision ?? 0 }
}

/**
 * Writes every usage row of the shards under a run of its own. Nobody reads them before their heads stand. Rows alike
 * are added, or the one with the largest last_key stands for them. One thread is enough for a million events a second;
 * the others are left to whoever waits: the pump, and questions.
 */
export async function writeRollup(
  store: ClickHouseStore,
  tenant: TenantId,
  shards: readonly number[],
  run: string,
): Promise<void> {
  const definitions = await readDefinitions(store, tenant, 'all')
  const plain = await arePlain(store, tenant, shards, definitions)
  await store.command(
    `INSERT INTO usage_rollup
     SELECT {usage_tenant:UInt32}, meter, subject, bucket, group_values, known_hour, shard, {run:UInt64},
       if(meter = '' OR max(last_key) = 0, sum(quantity), argMax(quantity, last_key)), sum(events),
       sumWithOverflow(digest), item, max(last_key), sum(operations)
     FROM ${plain ? PLAIN_USAGE : ANY_USAGE}
     GROUP BY meter, subject, bucket, group_values, known_hour, shard, item
     SETTINGS max_threads = 1`,
    {
      tenant,
      run,
      usage_tenant: tenant,
      usage_asked: '*',
      usage_as_of_ms: KNOWN_UNTIL_NOW_MS,
      usage_shards: shards,
      usage_subjects: [],
      usage_everybody: 1,
      usage_definitions: definitionsParam([EVERY_EVENT, ...definitions]),
    },
  )
}

/**
 * A run may be made the one that is read for this long, and its rows are removed after three times as long at the
 * earliest: whoever removes them can be sure that nobody makes them the ones that are read meanwhile.
 */
const HEADS_WITHIN_MS = 10 * 60_000
export const OLD_RUN_AGE_MS = 3 * HEADS_WITHIN_MS

/**
 * Makes the rows of a run the ones that are read, for each of its shards at once. Writes nothing if the run began too
 * long ago: its rebuilder slept, and its rows may be removed at this moment.
 */
export async function writeHeads(
  store: ClickHouseStore,
  tenant: TenantId,
  shards: readonly DirtyShard[],
  run: string,
  revision: number,
): Promise<void> {
  await store.command(
    `INSERT INTO shard_heads
     SELECT {tenant:UInt32}, shard, bitShiftLeft(toUInt64({revision:UInt32}), 40) + sum(events) + sum(operations), {run:UInt64},
       transform(shard, {shards:Array(UInt64)}, {covered:Array(UInt64)}, toUInt64(0)), now64(3), toDateTime(max(last_key))
     FROM usage_rollup
     WHERE tenant = {tenant:UInt32} AND meter = '' AND shard IN {shards:Array(UInt64)} AND run = {run:UInt64}
       AND bitShiftRight({run:UInt64}, 20) > toUnixTimestamp64Milli(now64(3)) - {within:Int64}
     GROUP BY shard`,
    {
      tenant,
      run,
      revision,
      within: HEADS_WITHIN_MS,
      shards: shards.map((one) => one.shard),
      covered: shards.map((one) => Number(one.progress)),
    },
  )
}

/** Pairs named in one statement at most: its text stays below ClickHouse's limit of 256 KiB. */
const PAIRS_PER_DELETE = 4_000

/**
 * Removes rows of runs that no head names and that began longer ago than `ageMs`. Returns nothing; may be repeated.
 * Two steps, because a mutation runs outside the session and does not find views with parameters: it would fail and be
 * tried again for ever. Between the two no head can come to name such a run: see `writeHeads`.
 */
export async function removeOldRuns(store: ClickHouseStore, tenant: TenantId, ageMs: number): Promise<void> {
  for (let found = PAIRS_PER_DELETE; found === PAIRS_PER_DELETE; ) {
    const pairs = await store.query<{ shard: string; run: string }>(
      `SELECT DISTINCT toString(usage_rollup.shard) AS shard, toString(usage_rollup.run) AS run
       FROM usage_rollup
       WHERE tenant = {tenant:UInt32}
         AND bitShiftRight(usage_rollup.run, 20) < toUnixTimestamp64Milli(now64(3)) - {age:Int64}
         AND (usage_rollup.shard, usage_rollup.run) NOT IN (SELECT shard, run FROM shard_state(tenant = {tenant:UInt32}))
       LIMIT ${PAIRS_PER_DELETE}`,
      { tenant, age: ageMs },
    )
    found = pairs.length
    if (found === 0) return
    // Runs reach beyond 2^53, and a bound array of texts is not read as one of numbers.
    await store.command(
      `DELETE FROM usage_rollup
       WHERE tenant = {tenant:UInt32}
         AND (shard, run) IN arrayZip({shards:Array(UInt64)}, CAST({runs:Array(String)}, 'Array(UInt64)'))`,
      { tenant, shards: pairs.map((pair) => Number(pair.shard)), runs: pairs.map((pair) => pair.run) },
    )
  }
}
