import { type Checkpoint, readCheckpoint, shardStateSql } from '../../schemas/clickhouse/shard-state.clickhouse.ts'
import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'

/** A place in a partition of a log. */
export type LogEnd = { log: string; partition: number; end: number }

/** The contiguous end of what is stored of every partition of every log. */
export async function allStoredEnds(store: ClickHouseStore): Promise<LogEnd[]> {
  const logs = await store.query<{ log: string }>('SELECT DISTINCT log FROM ingest_ranges ORDER BY log')
  const ends: LogEnd[] = []
  for (const { log } of logs) {
    const rows = await store.query<{ partition: number; end_text: string }>(
      'SELECT partition, toString(end) AS end_text FROM stored_ends(log = {log:String}) ORDER BY partition',
      { log },
    )
    for (const row of rows) ends.push({ log, partition: row.partition, end: Number(row.end_text) })
  }
  return ends
}

export type ShardsBehind = {
  /** Shards that the checkpoint does not speak for, or whose rollup does not know the newest meter. */
  looked: number
  dirty: number
  /** Not dirty, and built before the newest meter. */
  outdated: number
  revision: number
  checkpoint: Checkpoint
  /** The newest mark of each dirty shard, the lowest one of each partition: ends must lie below. */
  newest: LogEnd[]
}

export async function shardsBehind(store: ClickHouseStore, tenant: TenantId): Promise<ShardsBehind> {
  const [meters] = await store.query<{ revision: number }>(
    'SELECT max(revision) AS revision FROM meter_versions WHERE tenant = {tenant:UInt32}',
    { tenant },
  )
  const revision = meters?.revision ?? 0
  const checkpoint = await readCheckpoint(store, tenant)
  const state = shardStateSql({ tenant, checkpoint, revision, asOfMs: KNOWN_UNTIL_NOW_MS })
  // First the marks: a shard that is made clean in between, of an older revision, is then among the outdated.
  const rows = await store.query<{ mark_log: string; mark_partition: number; lowest: string }>(
    `SELECT newest.1 AS mark_log, newest.2 AS mark_partition, toString(min(newest.3)) AS lowest
     FROM (
       SELECT shard, argMax((log, partition, next_offset), (known_hour, next_offset)) AS newest
       FROM shard_changes
       WHERE tenant = {state_tenant:UInt32} AND shard IN (SELECT shard FROM ${state.sql} WHERE dirty)
       GROUP BY shard
     )
     GROUP BY mark_log, mark_partition`,
    state.params,
  )
  const [counts] = await store.query<{ looked: string; dirty_shards: string; outdated: string }>(
    `SELECT toString(count()) AS looked, toString(countIf(dirty)) AS dirty_shards,
       toString(countIf(NOT dirty AND version < bitShiftLeft({revision:UInt64}, 40))) AS outdated
     FROM ${state.sql}`,
    { ...state.params, revision },
  )
  return {
    looked: Number(counts?.looked),
    dirty: Number(counts?.dirty_shards),
    outdated: Number(counts?.outdated),
    revision,
    checkpoint,
    newest: rows.map((row) => ({ log: row.mark_log, partition: row.mark_partition, end: Number(row.lowest) })),
  }
}

export async function writeCheckpoint(
  store: ClickHouseStore,
  tenant: TenantId,
  revision: number,
  ends: readonly LogEnd[],
): Promise<void> {
  await store.command(
    `INSERT INTO shard_checkpoints
     SELECT {tenant:UInt32}, now64(3), {revision:UInt32}, {logs:Array(String)}, {partitions:Array(UInt32)}, {ends:Array(UInt64)}`,
    {
      tenant,
      revision,
      logs: ends.map((one) => one.log),
      partitions: ends.map((one) => one.partition),
      ends: ends.map((one) => one.end),
    },
  )
}
