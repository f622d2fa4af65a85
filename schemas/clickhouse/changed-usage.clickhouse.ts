import type { ClickHouseStore } from './store.ts'

/** Whose usage changed, and the first and last time at which. */
export type ChangedSubject = { subject: string; firstMs: number; lastMs: number }
/** What becomes known from one moment on is late if it happened before the other. */
export type LateStep = { knownFromMs: number; happenedBeforeMs: number }
/** Steps in order, both of their moments rising, one at least; nothing known before the first is asked for. */
export type ChangesQuery = { tenant: number; steps: readonly LateStep[]; knownBeforeMs: number }

/** Replays are dated by the clock of whoever makes them. */
const CLOCKS_DIFFER_MS = 3_600_000

const at = (name: string) => `fromUnixTimestamp64Milli({${name}:Int64}, 'UTC')`
const STEPS = '{known_from:Array(Int64)}'
/** When the letters came that were read again since. */
const LETTERS = `(
  SELECT known_at FROM dead_letters
  WHERE tenant IN (0, {tenant:UInt32}) AND (log, partition, log_offset) IN (
    SELECT log, partition, log_offset FROM dead_letter_replays
    WHERE tenant IN (0, {tenant:UInt32}) AND replayed_at >= ${at('replayed_from')}))`
const IS_NEW = `known_at < ${at('known_before')} AND (known_at >= ${at('since')} OR known_at IN ${LETTERS})`
/** Of what is new: it is late if it happened before this, in ms. A letter counts as known when it was read again. */
const LATE_BEFORE = `if(known_at IN ${LETTERS}, {last:Int64}, transform(
  roundDown(toUnixTimestamp64Milli(known_at), ${STEPS}), ${STEPS}, {happened_before:Array(Int64)}, toInt64(0)))`

const IS_OPERATION = "startsWith(type, 'tallyline.')"
const IN_CHANGED_SHARDS = `tenant = {tenant:UInt32} AND shard IN (
  SELECT shard FROM shard_changes
  WHERE tenant = {tenant:UInt32}
    AND (known_hour >= toStartOfHour(${at('since')})
      OR known_hour IN (SELECT toStartOfHour(known_at) FROM ${LETTERS})))`
const IS_LATE = `${IS_NEW} AND toUnixTimestamp64Milli(time) < ${LATE_BEFORE}`

/** Events that came late. */
const LATE_EVENTS = `
  SELECT subject AS changed, toUnixTimestamp64Milli(time) AS at FROM events
  WHERE ${IN_CHANGED_SHARDS} AND ${IS_LATE} AND NOT ${IS_OPERATION}`
/** What identities count as and counted as before, of those with an operation and anything new. */
const OPERATED = `
  SELECT place.1 AS changed, place.2 AS at
  FROM (
    SELECT arrayJoin(arrayFilter(each -> each.2 < late_before, places)) AS place
    FROM (
      SELECT maxIf(${LATE_BEFORE}, ${IS_NEW}) AS late_before,
        groupArrayIf(
          if(
            type = 'tallyline.replace',
            (JSONExtractString(data, 'subject'), toUnixTimestamp64Milli(
              parseDateTime64BestEffortOrZero(JSONExtractString(data, 'time'), 3, 'UTC'))),
            (events.subject, toUnixTimestamp64Milli(time))
          ),
          type != 'tallyline.void'
        ) AS places
      FROM events
      WHERE tenant = {tenant:UInt32} AND known_at < ${at('known_before')} AND (shard, source, id) IN (
        SELECT shard, source, id FROM events
        WHERE ${IN_CHANGED_SHARDS} AND (${IS_LATE} OR ${IS_NEW} AND ${IS_OPERATION})
          AND (shard, source, id) IN (
            SELECT shard, source, id FROM events WHERE ${IN_CHANGED_SHARDS} AND ${IS_OPERATION}
          )
      )
      GROUP BY tenant, shard, source, id
    )
  )`

/**
 * Subjects whose usage of billed periods changed: by events that became known late, by operations on events (what an
 * identity counted as before is named too), and by dead letters that were read again, which keep the time at which they
 * came. What was on time for every period billed by then is not late, however far back the first step lies. Only shards
 * that changed since are read, of few columns. A repeated event may be named though nothing changed, so may one of the
 * same millisecond as a letter: whoever asks compares.
 */
export async function readChangedSubjects(
  store: ClickHouseStore,
  { tenant, steps, knownBeforeMs }: ChangesQuery,
): Promise<ChangedSubject[]> {
  const [first, last] = [steps[0], steps.at(-1)]
  if (first === undefined || last === undefined) return []
  const rows = await store.query<{ subject: string; first_text: string; last_text: string }>(
    `SELECT changed AS subject, toString(min(at)) AS first_text, toString(max(at)) AS last_text
     FROM (${LATE_EVENTS} UNION ALL ${OPERATED}) GROUP BY changed ORDER BY changed`,
    {
      ...{ tenant, since: first.knownFromMs, known_before: knownBeforeMs, last: last.happenedBeforeMs },
      replayed_from: first.knownFromMs - CLOCKS_DIFFER_MS,
      known_from: steps.map(({ knownFromMs }) => knownFromMs),
      happened_before: steps.map(({ happenedBeforeMs }) => happenedBeforeMs),
    },
  )
  return rows.map((row) => ({
    subject: row.subject,
    firstMs: Number(row.first_text),
    lastMs: Number(row.last_text),
  }))
}
