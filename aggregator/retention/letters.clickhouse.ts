import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'

/** Instants before which something is past its time, in ms. */
export type Horizons = { replayedMs: number; waitingMs: number; eventsMs: number }
/** What is past its time. `events`: copies stored before, which stay. */
export type Past = { replayed: number; waiting: number; events: number }

const KEY = 'tenant, log, partition, log_offset'
const at = (name: string) => `fromUnixTimestamp64Milli({${name}:Int64}, 'UTC')`
/** Letters whose events are stored since long. */
const REPLAYED = `(${KEY}) IN (
  SELECT ${KEY} FROM dead_letter_replays FINAL WHERE replayed_at < ${at('replayed_ms')})`
/** Letters that nobody could read. */
const WAITING = `known_at < ${at('waiting_ms')} AND (${KEY}) NOT IN (SELECT ${KEY} FROM dead_letter_replays)`

const paramsOf = ({ replayedMs, waitingMs }: Horizons) => ({ replayed_ms: replayedMs, waiting_ms: waitingMs })

export async function countPast(store: ClickHouseStore, horizons: Horizons): Promise<Past> {
  const [row] = await store.query<{ replayed: string; waiting: string; events: string }>(
    `SELECT toString(countIf(${REPLAYED})) AS replayed, toString(countIf(${WAITING})) AS waiting,
       (SELECT toString(sum(events)) FROM ingest_ranges FINAL WHERE known_at < ${at('events_ms')}) AS events
     FROM dead_letters FINAL`,
    { ...paramsOf(horizons), events_ms: horizons.eventsMs },
  )
  return { replayed: Number(row?.replayed), waiting: Number(row?.waiting), events: Number(row?.events) }
}

/**
 * Removes dead letters past their time from the disk, not only from sight: their bytes may be personal data. What says
 * that they were replayed stays, as seals are explained by it. May be repeated.
 */
export async function removeLetters(store: ClickHouseStore, horizons: Horizons): Promise<void> {
  await store.command(
    `ALTER TABLE dead_letters DELETE WHERE (${REPLAYED}) OR (${WAITING}) SETTINGS mutations_sync = 2`,
    paramsOf(horizons),
  )
}
