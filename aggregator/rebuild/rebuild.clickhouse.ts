import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

export type DirtyShard = { shard: number; progress: string; builtAtMs: number }

/** Shards with events their rollup does not cover, or built before the newest meter; the longest waiting first. */
export async function dirtyShards(store: ClickHouseStore, tenant: TenantId, limit: number): Promise<DirtyShard[]> {
  const rows = await store.query<{ shard: string; progress: string; built_at_ms: string }>(
    `SELECT toString(shard) AS shard, toString(progress) AS progress,
       toString(toUnixTimestamp64Milli(built_at)) AS built_at_ms
     FROM shard_state(tenant = {tenant:UInt32})
     WHERE dirty OR version < bitShiftLeft(toUInt64((SELECT max(revision) FROM meters WHERE tenant = {tenant:UInt32})), 40)
     ORDER BY built_at, shard
     LIMIT {limit:UInt32}`,
    { tenant, limit },
  )
  return rows.map((row) => ({ shard: Number(row.shard), progress: row.progress, builtAtMs: Number(row.built_at_ms) }))
}

/** The newest revision of the tenant's meters in ClickHouse; 0 without meters. */
export async function meterRevision(store: ClickHouseStore, tenant: TenantId): Promise<number> {
  const [row] = await store.query<{ revision: number }>(
    'SELECT max(revision) AS revision FROM meters WHERE tenant = {tenant:UInt32}',
    { tenant },
  )
  return row?.revision ?? 0
}

/** Writes every usage row of the shards under a run of its own. Nobody reads them before their heads stand. */
export async function writeRollup(
  store: ClickHouseStore,
  tenant: TenantId,
  shards: readonly number[],
  run: string,
): Promise<void> {
  await store.command(
    `INSERT INTO usage_rollup
     SELECT {tenant:UInt32}, meter, subject, bucket, group_values, known_hour, shard, {run:UInt64},
       sum(quantity), sum(events), sumWithOverflow(digest)
     FROM usage_rows(tenant = {tenant:UInt32}, meter = '*', as_of_ms = {now:Int64}, shards = {shards:Array(UInt64)})
     GROUP BY meter, subject, bucket, group_values, known_hour, shard`,
    { tenant, run, shards, now: KNOWN_UNTIL_NOW_MS },
  )
}

/** Makes the rows of a run the ones that are read, for each of its shards at once. */
export async function writeHeads(
  store: ClickHouseStore,
  tenant: TenantId,
  shards: readonly DirtyShard[],
  run: string,
  revision: number,
): Promise<void> {
  await store.command(
    `INSERT INTO shard_heads
     SELECT {tenant:UInt32}, shard, bitShiftLeft(toUInt64({revision:UInt32}), 40) + sum(events), {run:UInt64},
       transform(shard, {shards:Array(UInt64)}, {covered:Array(UInt64)}, toUInt64(0)), now64(3)
     FROM usage_rollup
     WHERE tenant = {tenant:UInt32} AND meter = '' AND run = {run:UInt64}
     GROUP BY shard`,
    {
      tenant,
      run,
      revision,
      shards: shards.map((one) => one.shard),
      covered: shards.map((one) => Number(one.progress)),
    },
  )
}

/** Pairs named in one statement at most: its text stays below ClickHouse's limit of 256 KiB. */
const PAIRS_PER_DELETE = 4_000

/**
 * Removes rows of runs that no head names and that are older than `beforeRun`. Returns nothing; may be repeated. Two
 * steps, because a mutation runs outside the session and does not find views with parameters: it would fail and be
 * tried again for ever. A rebuilder that slept so long finds no rows of its run, and so writes no heads.
 */
export async function removeOldRuns(store: ClickHouseStore, tenant: TenantId, beforeRun: string): Promise<void> {
  for (let found = PAIRS_PER_DELETE; found === PAIRS_PER_DELETE; ) {
    const pairs = await store.query<{ shard: string; run: string }>(
      `SELECT DISTINCT toString(usage_rollup.shard) AS shard, toString(usage_rollup.run) AS run
       FROM usage_rollup
       WHERE tenant = {tenant:UInt32} AND usage_rollup.run < {before:UInt64}
         AND (usage_rollup.shard, usage_rollup.run) NOT IN (SELECT shard, run FROM shard_state(tenant = {tenant:UInt32}))
       LIMIT ${PAIRS_PER_DELETE}`,
      { tenant, before: beforeRun },
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
