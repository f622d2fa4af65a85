import type { Visible } from '../http/scope.ts'
import { type Definition, definitionsParam, EVERY_EVENT, readDefinitions } from './definitions.clickhouse.ts'
import {
  AS_OF_HOUR,
  readCheckpoint,
  type ShardStateQuery,
  shardStateSql,
  shardsInQuestionSql,
} from './shard-state.clickhouse.ts'
import { type ClickHouseParams, type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from './store.ts'

export type UsageOf = {
  tenant: number
  /** The meter '' counts every event once; it is asked for alone. */
  meters: readonly string[]
  /** What was known before this moment; KNOWN_UNTIL_NOW_MS for everything. */
  asOfMs: number
}
/** Times are half-open, in whole minutes; all times when not given. An empty list of subjects is nobody. */
export type UsageFilter = { fromMs?: number; toMs?: number; subjects: Visible }
export type UsageTable = { sql: string; params: ClickHouseParams }

/**
 * Shards that one statement names at most: a form's field holds 128 KiB. Beyond, the view finds them itself, which takes
 * longer the more there are.
 */
const MAX_LIVE = 8_000
/** Rows from the events of `usage_shards`: of meters and shards that are plain, and of any. */
export const PLAIN_USAGE = `usage_from_events(tenant = {usage_tenant:UInt32}, shards = {usage_shards:Array(UInt64)},
  subjects = {usage_subjects:Array(String)}, everybody = {usage_everybody:UInt8}, as_of_ms = {usage_as_of_ms:Int64},
  definitions = {usage_definitions:String})`
export const ANY_USAGE = `usage_from_shards(tenant = {usage_tenant:UInt32}, meter = {usage_asked:String},
  as_of_ms = {usage_as_of_ms:Int64}, shards = {usage_shards:Array(UInt64)})`
/** The same, and rollups too: the shards that are live are found within it. */
const ALL_USAGE = `usage_rows(tenant = {usage_tenant:UInt32}, meter = {usage_asked:String},
  as_of_ms = {usage_as_of_ms:Int64}, shards = [])`
const COLUMNS = 'meter, shard, subject, bucket, group_values, quantity, events, digest, item, last_key'

/**
 * Exact usage as the text of a table, for FROM, and its parameters, whose names begin with `usage_`: the rows of the view
 * `exact_usage`, with their meter. It first asks which shards are live, so that a statement holds no more than it needs:
 * a view with parameters is planned twice, and again at each layer, which costs more than to read. Shards may be rebuilt
 * meanwhile: what was live is counted from its events whether it was rebuilt or not, and of the others the run is read
 * that is newest then. So a table may be asked for several statements, and none knows less than there was at first; one
 * that would know more than as_of fails, see `withUsage`.
 */
async function openUsage(store: ClickHouseStore, of: UsageOf): Promise<(filter: UsageFilter) => UsageTable> {
  const { tenant, meters, asOfMs } = of
  // An older checkpoint is as true as a newer one: it may be read before the definitions or after them.
  const [checkpoint, definitions] = await Promise.all([
    readCheckpoint(store, tenant),
    meters.includes('') ? [EVERY_EVENT] : readDefinitions(store, tenant, meters),
  ])
  const live = await liveShards(store, { tenant, asOfMs, checkpoint }, definitions)
  const many = live.length > MAX_LIVE
  const plain = !many && live.length > 0 && (await arePlain(store, tenant, live, definitions))
  const rowsOf = (view: string, filter: UsageFilter) => `SELECT ${COLUMNS} FROM ${view} WHERE ${conditionsOf(filter)}`
  const partsOf = (filter: UsageFilter) => {
    if (many) return [rowsOf(ALL_USAGE, filter)]
    const fromEvents = live.length > 0 ? [rowsOf(plain ? PLAIN_USAGE : ANY_USAGE, filter)] : []
    return [rollupSql(of, filter, live), ...fromEvents]
  }
  return (filter) => {
    return {
      sql: `(${partsOf(filter).join(' UNION ALL ')})`,
      params: {
        usage_tenant: tenant,
        usage_meters: meters,
        usage_asked: meters.length === 1 ? (meters[0] ?? '') : '*',
        usage_as_of_ms: asOfMs,
        usage_shards: many ? [] : live,
        usage_definitions: definitionsParam(definitions),
        usage_from_ms: filter.fromMs ?? 0,
        usage_to_ms: filter.toMs ?? KNOWN_UNTIL_NOW_MS,
        usage_everybody: filter.subjects === 'everything' ? 1 : 0,
        usage_subjects: filter.subjects === 'everything' ? [] : filter.subjects,
      },
    }
  }
}

const HOUR_OF_AS_OF = "toStartOfHour(fromUnixTimestamp64Milli({usage_as_of_ms:Int64}, 'UTC'))"

/**
 * Rows of the runs that the heads name, of all shards but the live ones, as a SELECT. Heads lie in the order of their
 * shards, so the newest of each is the first row of its shard, and nothing is grouped (decision 0021). A head that contains
 * operations of after as_of is an error: its shard was not live when that was asked, and is now.
 */
function rollupSql({ meters, asOfMs }: UsageOf, filter: UsageFilter, live: readonly number[]): string {
  const clean = live.length > 0 ? ' AND shard NOT IN {usage_shards:Array(UInt64)}' : ''
  const rows = `tenant = {usage_tenant:UInt32} AND ${conditionsOf(filter)}`
  const heads = `SELECT shard, run, operations_hour FROM shard_heads
      WHERE tenant = {usage_tenant:UInt32}${clean} AND shard IN (SELECT shard FROM usage_rollup WHERE ${rows})
      ORDER BY tenant, shard, version DESC, built_at DESC
      LIMIT 1 BY tenant, shard`
  const isNow = asOfMs === KNOWN_UNTIL_NOW_MS
  // Operations change what counts, but not how many events came.
  const settled = meters.includes('') || isNow ? '' : `WHERE ${NOT_CORRECTED_SINCE}`
  return `SELECT ${COLUMNS} FROM usage_rollup
    WHERE ${rows}${clean}${isNow ? '' : ` AND known_hour < ${HOUR_OF_AS_OF}`}
      AND (shard, run) IN (SELECT shard, run FROM (${heads}) ${settled})`
}

const NOT_CORRECTED_SINCE = `throwIf(
        operations_hour >= ${HOUR_OF_AS_OF},
        'A shard was rebuilt with operations known after as_of: it is live now'
      ) = 0`

/** The same for one statement, or for several, which `read` makes. Repeated where a shard has become live meanwhile. */
export async function withUsage<T>(
  store: ClickHouseStore,
  of: UsageOf,
  read: (usageOf: (filter: UsageFilter) => UsageTable) => Promise<T>,
): Promise<T> {
  for (let tries = 1; ; tries++) {
    const usageOf = await openUsage(store, of)
    try {
      return await read(usageOf)
    } catch (error) {
      if (!becameLive(error) || tries === MOST_TRIES) throw error
    }
  }
}

const MOST_TRIES = 5

/** 395 is FUNCTION_THROW_IF_VALUE_IS_NON_ZERO: see rollupSql. */
function becameLive(error: unknown): boolean {
  return Number((error as { code?: unknown } | undefined)?.code) === 395
}

/** Conditions that are not there need not be planned. */
function conditionsOf({ fromMs, toMs, subjects }: UsageFilter): string {
  return [
    'meter IN {usage_meters:Array(String)}',
    ...(fromMs === undefined ? [] : ["bucket >= toDateTime(intDiv({usage_from_ms:Int64}, 1000), 'UTC')"]),
    ...(toMs === undefined ? [] : ["bucket < toDateTime(intDiv({usage_to_ms:Int64}, 1000), 'UTC')"]),
    ...(subjects === 'everything' ? [] : ['subject IN {usage_subjects:Array(String)}']),
  ].join(' AND ')
}

/**
 * Shards whose usage is read from their events: those dirty, not yet built with the meters, changed in the hour of
 * as_of, or with operations known since it began, which their rollup already contains. Mostly there are few to ask about,
 * or none: then naming them is quicker than to find them within the question.
 */
async function liveShards(
  store: ClickHouseStore,
  of: Omit<ShardStateQuery, 'revision'>,
  definitions: readonly Definition[],
): Promise<number[]> {
  const revision = Math.max(0, ...definitions.map((one) => one.revision))
  const query = { ...of, revision }
  const inQuestion = shardsInQuestionSql(query)
  const found = await store.query<{ shard_text: string }>(
    `SELECT DISTINCT toString(shard) AS shard_text FROM (${inQuestion.sql}) LIMIT ${MAX_LIVE + 1}`,
    inQuestion.params,
  )
  if (found.length === 0) return []
  const state = shardStateSql(query, found.length > MAX_LIVE ? undefined : found.map(shardOf))
  const rows = await store.query<{ shard_text: string }>(
    `SELECT toString(shard) AS shard_text FROM ${state.sql}
     WHERE dirty
       OR version < bitShiftLeft({revision:UInt64}, 40)
       OR ({as_of_ms:Int64} > {state_hour_ms:Int64} AND last_known_hour >= ${AS_OF_HOUR})
       OR ({every:UInt8} = 0 AND operations_hour >= ${AS_OF_HOUR})
     LIMIT ${MAX_LIVE + 1}`,
    { ...state.params, revision, as_of_ms: query.asOfMs, every: definitions.includes(EVERY_EVENT) ? 1 : 0 },
  )
  return rows.map(shardOf)
}

const shardOf = (row: { shard_text: string }) => Number(row.shard_text)

/** Whether the text for plain meters may count these shards: operations change what counts, but not how many came. */
export async function arePlain(
  store: ClickHouseStore,
  tenant: number,
  shards: readonly number[],
  definitions: readonly Definition[],
): Promise<boolean> {
  if (definitions.includes(EVERY_EVENT)) return true
  if (!definitions.every((one) => one.plain)) return false
  const rows = await store.query(
    `SELECT 1 AS found FROM events
     WHERE tenant = {tenant:UInt32} AND shard IN {shards:Array(UInt64)} AND startsWith(type, 'tallyline.')
     LIMIT 1`,
    { tenant, shards },
  )
  return rows.length === 0
}
