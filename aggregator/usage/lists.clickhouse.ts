import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { OPERATION_PREFIX } from '../../schemas/event/operation.ts'
import type { TenantId } from '../../schemas/http/door.ts'

export type ConflictCopy = { type: string; subject: string; time: string; data: string; known_at: string }
export type EventConflict = {
  source: string
  id: string
  counted: ConflictCopy
  latest: ConflictCopy
  payloads: number
}

/** Conflicts whose latest payload became known from `fromMs` until before `toMs`; those after `after` in the list. */
export type ConflictQuery = { fromMs: number; toMs: number; after?: ConflictPlace; limit: number }
/** Where a conflict stands in the list: the newest first, then by identity. */
export type ConflictPlace = { knownAtMs: number; source: string; id: string }

/** What contradicts: operations never do, nor does a time that the emitter did not give. */
const CONFLICTING = 'uniqExact(type, subject, data) > 1 OR uniqExactIf(time, time_given) > 1'
const ORDINARY = `NOT startsWith(type, '${OPERATION_PREFIX}')`
/**
 * What contradicts has more than one row, and few identities have. Rows lie in this order, so who has a second one is found
 * without bringing identities together, in a tenth of the time. `shards` is a condition.
 */
const ofSeveralRows = (shards: string) => `(shard, source, id) IN (
  SELECT shard, source, id FROM events
  WHERE tenant = {tenant:UInt32} AND ${ORDINARY} AND ${shards}
  ORDER BY tenant, shard, source, id, payload
  LIMIT 1, 1 BY tenant, shard, source, id)`

/**
 * Identities that came with more than one payload: `counted` is the first copy, `latest` the last one to differ. Copies
 * alike in payload are one, whether their rows were merged yet or not: hence FINAL. Only shards that changed since the
 * window began are read.
 */
export async function listConflicts(
  store: ClickHouseStore,
  tenant: TenantId,
  { fromMs, toMs, after, limit }: ConflictQuery,
): Promise<EventConflict[]> {
  const changed = `shard IN (
    SELECT shard FROM shard_changes
    WHERE tenant = {tenant:UInt32}
      AND known_hour >= toStartOfHour(fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')))`
  const rows = await store.query<{ source: string; id: string; counted: string[]; latest: string[]; payloads: string }>(
    `SELECT source, id, ${copyOf('first')} AS counted, ${copyOf('last')} AS latest, toString(payloads) AS payloads
     FROM (
       SELECT
         source, id,
         argMax((toString(type), subject, time, data, known_at), version) AS first,
         argMin((toString(type), subject, time, data, known_at), version) AS last,
         count() AS payloads
       FROM events FINAL
       WHERE tenant = {tenant:UInt32} AND ${ORDINARY} AND ${changed} AND ${ofSeveralRows(changed)}
       GROUP BY shard, source, id
       HAVING ${CONFLICTING}
     ) AS conflicts
     WHERE conflicts.last.5 >= fromUnixTimestamp64Milli({from_ms:Int64}, 'UTC')
       AND conflicts.last.5 < fromUnixTimestamp64Milli({to_ms:Int64}, 'UTC')
       AND (-toUnixTimestamp64Milli(conflicts.last.5), source, id) > ({after_ms:Int64}, {after_source:String}, {after_id:String})
     ORDER BY conflicts.last.5 DESC, source, id LIMIT {limit:UInt32}`,
    {
      tenant,
      limit,
      from_ms: fromMs,
      to_ms: toMs,
      after_ms: after ? -after.knownAtMs : BEFORE_ALL,
      after_source: after?.source ?? '',
      after_id: after?.id ?? '',
    },
  )
  return rows.map(({ counted, latest, payloads, ...identity }) => ({
    ...identity,
    counted: toCopy(counted),
    latest: toCopy(latest),
    payloads: Number(payloads),
  }))
}
const BEFORE_ALL = -(2 ** 52)

/** How many identities conflict in each of the shards; those without a conflict are absent. */
export async function countConflicts(
  store: ClickHouseStore,
  tenant: TenantId,
  shards: readonly number[],
): Promise<Map<number, number>> {
  const named = 'shard IN {shards:Array(UInt64)}'
  const rows = await store.query<{ shard_text: string; conflicts: string }>(
    `SELECT toString(shard) AS shard_text, toString(count()) AS conflicts
     FROM (
       SELECT shard FROM events
       WHERE tenant = {tenant:UInt32} AND ${ORDINARY} AND ${named} AND ${ofSeveralRows(named)}
       GROUP BY shard, source, id
       HAVING ${CONFLICTING}
     )
     GROUP BY shard`,
    { tenant, shards },
  )
  return new Map(rows.map((row) => [Number(row.shard_text), Number(row.conflicts)]))
}

const isoTime = (column: string) => `replaceOne(toString(${column}), ' ', 'T') || 'Z'`
const copyOf = (tuple: string) => {
  const column = `conflicts.${tuple}`
  return `[${column}.1, ${column}.2, ${isoTime(`${column}.3`)}, ${column}.4, ${isoTime(`${column}.5`)}]`
}

function toCopy([type = '', subject = '', time = '', data = '', known_at = '']: string[]): ConflictCopy {
  return { type, subject, time, data, known_at }
}
