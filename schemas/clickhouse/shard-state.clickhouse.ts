import { type ClickHouseParams, type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from './store.ts'

/** Up to where every shard is clean: see the table's text. `ends` by log, then partition. */
export type Checkpoint = { revision: number; ends: ReadonlyMap<string, readonly number[]> }
export const NO_CHECKPOINT: Checkpoint = { revision: 0, ends: new Map() }

/** The newest checkpoint; without one every shard is looked at. */
export async function readCheckpoint(store: ClickHouseStore, tenant: number): Promise<Checkpoint> {
  const [row] = await store.query<{ revision: number; logs: string[]; partitions: number[]; ends: string[] }>(
    `SELECT revision, logs, partitions, CAST(ends, 'Array(String)') AS ends
     FROM shard_checkpoints WHERE tenant = {tenant:UInt32}
     ORDER BY made_at DESC LIMIT 1`,
    { tenant },
  )
  if (!row) return NO_CHECKPOINT
  const ends = new Map<string, number[]>()
  for (const [place, log] of row.logs.entries()) {
    const ofLog = ends.get(log) ?? []
    ends.set(log, ofLog)
    ofLog[row.partitions[place] ?? 0] = Number(row.ends[place])
  }
  return { revision: row.revision, ends }
}

export type ShardStateQuery = {
  tenant: number
  checkpoint: Checkpoint
  /** Shards whose rollup does not know a meter of this revision are there too. */
  revision: number
  /** Those that changed in the hour of this moment or later are there too. */
  asOfMs: number
}

const HOUR_MS = 3_600_000
export const AS_OF_HOUR = "fromUnixTimestamp64Milli({state_hour_ms:Int64}, 'UTC')"
const SHARDS_OF = {
  marks: 'SELECT shard FROM shard_changes WHERE tenant = {state_tenant:UInt32}',
  heads: 'SELECT shard FROM shard_heads WHERE tenant = {state_tenant:UInt32}',
}

/**
 * The state of shards as the text of a table with the columns of the view `shard_state`: of those with marks behind the
 * checkpoint, which are all that may be dirty, and of those that the query names. Its parameters begin with `state_`.
 */
export function shardStateSql(query: ShardStateQuery): { sql: string; params: ClickHouseParams } {
  const { tenant, checkpoint, revision, asOfMs } = query
  const changed = behind(checkpoint)
  const hourMs = Math.floor(asOfMs / HOUR_MS) * HOUR_MS
  const wanted = [`${SHARDS_OF.marks} AND (${changed.sql})`]
  // A shard that was clean has a head.
  if (checkpoint.revision < revision) wanted.push(SHARDS_OF.heads)
  if (asOfMs !== KNOWN_UNTIL_NOW_MS) wanted.push(`${SHARDS_OF.heads} AND operations_hour >= ${AS_OF_HOUR}`)
  if (asOfMs > hourMs) wanted.push(`${SHARDS_OF.marks} AND known_hour >= ${AS_OF_HOUR}`)
  const sql = `(
    WITH wanted AS (${wanted.join(' UNION ALL ')})
    SELECT
      shard, progress, last_known_hour, version, head.1 AS run, head.2 AS operations_hour, built_at,
      progress > covered AS dirty
    FROM (
      SELECT shard, sum(next) AS progress, max(hour) AS last_known_hour
      FROM (
        SELECT shard, log, partition, max(next_offset) AS next, max(known_hour) AS hour
        FROM shard_changes WHERE tenant = {state_tenant:UInt32} AND shard IN wanted
        GROUP BY shard, log, partition
      )
      GROUP BY shard
    ) AS changes
    LEFT JOIN (
      SELECT
        shard,
        max(shard_heads.version) AS version,
        argMax((run, operations_hour), (shard_heads.version, shard_heads.built_at)) AS head,
        argMax(covered, (shard_heads.version, covered)) AS covered,
        max(shard_heads.built_at) AS built_at
      FROM shard_heads WHERE tenant = {state_tenant:UInt32} AND shard IN wanted
      GROUP BY shard
    ) AS heads USING (shard)
  )`
  return { sql, params: { state_tenant: tenant, state_hour_ms: hourMs, ...changed.params } }
}

/** Whether a mark lies behind a checkpoint. The number and the least of the ends are for the index of the table. */
function behind({ ends }: Checkpoint): { sql: string; params: ClickHouseParams } {
  const params: ClickHouseParams = { state_logs: [...ends.keys()] }
  const ofLogs = [...ends].map(([log, ofLog], place) => {
    // Of a partition without an end all marks are behind it.
    const filled = Array.from(ofLog, (end = 0) => end)
    Object.assign(params, {
      [`state_log${place}`]: log,
      [`state_named${place}`]: filled.length,
      [`state_least${place}`]: Math.min(...filled),
      [`state_ends${place}`]: filled,
    })
    return `log = {state_log${place}:String}
      AND (partition >= {state_named${place}:UInt32} OR next_offset > {state_least${place}:UInt64})
      AND next_offset > {state_ends${place}:Array(UInt64)}[partition + 1]`
  })
  return { sql: ['log NOT IN {state_logs:Array(String)}', ...ofLogs].join(' OR '), params }
}
