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
 * The shards whose state a query asks for, as the text of a SELECT with one column, some of them twice: those with marks
 * behind the checkpoint, which are all that may be dirty, and those that the query names. Its parameters begin with
 * `state_`.
 */
export function shardsInQuestionSql(query: ShardStateQuery): { sql: string; params: ClickHouseParams } {
  const { tenant, checkpoint, revision, asOfMs } = query
  const changed = behind(checkpoint)
  const hourMs = Math.floor(asOfMs / HOUR_MS) * HOUR_MS
  const wanted = [`${SHARDS_OF.marks} AND (${changed.sql})`]
  // A shard that was clean has a head.
  if (checkpoint.revision < revision) wanted.push(SHARDS_OF.heads)
  if (asOfMs !== KNOWN_UNTIL_NOW_MS) wanted.push(`${SHARDS_OF.heads} AND operations_hour >= ${AS_OF_HOUR}`)
  if (asOfMs > hourMs) wanted.push(`${SHARDS_OF.marks} AND known_hour >= ${AS_OF_HOUR}`)
  return {
    sql: wanted.join(' UNION ALL '),
    params: { state_tenant: tenant, state_hour_ms: hourMs, ...changed.params },
  }
}

/**
 * The state of these shards, or of those in question, as the text of a table with the columns of the view `shard_state`.
 * Marks and heads are put under each other and grouped: a join is planned for longer. A shard without marks is not there.
 */
export function shardStateSql(
  query: ShardStateQuery,
  among?: readonly number[],
): { sql: string; params: ClickHouseParams } {
  const { sql: inQuestion, params } = shardsInQuestionSql(query)
  const shards = among ? '{state_shards:Array(UInt64)}' : `(${inQuestion})`
  const sql = `(
    SELECT
      shard, sum(next) AS progress, max(hour) AS last_known_hour, max(head.1) AS version,
      argMax(head.3, (head.1, head.2)) AS run, argMax(head.4, (head.1, head.2)) AS operations_hour,
      max(head.2) AS built_at, progress > argMax(head.5, (head.1, head.5)) AS dirty
    FROM (
      SELECT shard, max(next_offset) AS next, max(known_hour) AS hour, ${NO_HEAD} AS head
      FROM shard_changes WHERE tenant = {state_tenant:UInt32} AND shard IN ${shards}
      GROUP BY shard, log, partition
      UNION ALL
      SELECT shard, toUInt64(0), toDateTime(0, 'UTC'), (version, built_at, run, operations_hour, covered)
      FROM shard_heads WHERE tenant = {state_tenant:UInt32} AND shard IN ${shards}
    )
    GROUP BY shard
    HAVING progress > 0
  )`
  return { sql, params: among ? { ...params, state_shards: among } : params }
}

const NO_HEAD = `(
        toUInt64(0), toDateTime64(0, 3, 'UTC'), toUInt64(0), toDateTime(0, 'UTC'), toUInt64(0)
      )`

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
