import { type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { Visible } from '../../../schemas/http/scope.ts'

export type EventsQuery = {
  fromMs: number
  toMs: number
  knownFromMs: number
  knownToMs: number
  /** Part of the id or subject; empty: any. */
  id: string
  subject: string
  visible: Visible
  limit: number
}
export type StoredEvent = {
  id: string
  source: string
  type: string
  subject: string
  timeMs: number
  knownAtMs: number
  data: string
}

/** An event is known at most this long before its time: emitters' clocks may be 5 minutes ahead, and ours may differ. */
const KNOWN_BEFORE_TIME_MS = 3_600_000

/** Events as they count, the latest first; voided ones are left out. Only shards that changed since then are read. */
export async function listEvents(store: ClickHouseStore, tenant: TenantId, query: EventsQuery): Promise<StoredEvent[]> {
  const rows = await store.query<Omit<StoredEvent, 'timeMs' | 'knownAtMs'> & { time_ms: number; known_ms: number }>(
    `SELECT id, source, type, subject, data, toFloat64(toUnixTimestamp64Milli(time)) AS time_ms,
       toFloat64(toUnixTimestamp64Milli(known_at)) AS known_ms
     FROM effective_events(tenant = {tenant:UInt32}, as_of_ms = {as_of_ms:Int64})
     WHERE NOT voided
       AND shard IN (
         SELECT shard FROM shard_changes
         WHERE tenant = {tenant:UInt32} AND known_hour >= toStartOfHour(fromUnixTimestamp64Milli({since_ms:Int64}, 'UTC')))
       AND time >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC') AND time <= fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
       AND known_at >= fromUnixTimestamp64Milli({known_from_ms:Int64}, 'UTC')
       AND known_at <= fromUnixTimestamp64Milli({known_to_ms:Int64}, 'UTC')
       AND ({id:String} = '' OR position(id, {id:String}) > 0)
       AND ({subject:String} = '' OR position(subject, {subject:String}) > 0)
       ${query.visible === 'everything' ? '' : 'AND subject IN {visible:Array(String)}'}
     ORDER BY time DESC, id, source
     LIMIT {limit:UInt32}`,
    {
      ...{ tenant, as_of_ms: KNOWN_UNTIL_NOW_MS, from_ms: query.fromMs, to_ms: query.toMs },
      ...{ known_from_ms: query.knownFromMs, known_to_ms: query.knownToMs },
      ...{ id: query.id, subject: query.subject, limit: query.limit },
      visible: query.visible === 'everything' ? [] : query.visible,
      since_ms: Math.max(0, query.fromMs - KNOWN_BEFORE_TIME_MS, query.knownFromMs),
    },
  )
  return rows.map(({ time_ms, known_ms, ...event }) => ({ ...event, timeMs: time_ms, knownAtMs: known_ms }))
}
