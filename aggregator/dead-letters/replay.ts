import { type ClickHouseStore, isDataError } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { insertRecords } from '../pump/insert.clickhouse.ts'
import { progressOf } from '../pump/progress.ts'
import {
  countDeadLetters,
  markChanged,
  noteReason,
  noteReplay,
  type Place,
  type WaitingLetter,
  waitingLetters,
} from './dead-letters.clickhouse.ts'

export type ReplayDeps = { store: ClickHouseStore; now: () => number }
export type Replayed = { log: string; partition: number; offset: number } & (
  | { outcome: 'replayed'; events: number }
  | { outcome: 'unreadable'; reason: string }
)
export type ReplayAnswer = { records: Replayed[]; waiting: number }

const READ_AT_ONCE = 20
const MOST_RECORDS = 1_000
const REASON_LENGTH = 500

/**
 * Reads dead letters of the tenants again, the one at a place or the oldest of all, after what kept them from being
 * read was mended. Order of effects, for each: (1) its events are stored as the pump would have stored them then, with
 * the place and the time of the record in its log, so that a repeat stores the same rows; (2) its shards are marked as
 * changed; (3) the letter is noted as replayed. A crash in between leaves a letter that is replayed again, to the same
 * effect. One that still cannot be read stays, with the new reason.
 * Its events are known at the time of their record: a seal made since lacks them, and what was billed by it is made up
 * for by the next billing run, by difference.
 */
export async function replayDeadLetters(
  deps: ReplayDeps,
  tenants: readonly TenantId[],
  at: Place | undefined,
): Promise<ReplayAnswer> {
  const records: Replayed[] = []
  for (const tenant of tenants) {
    let after: Place = { log: '', partition: -1, offset: -1 }
    for (let full = true; full && records.length < MOST_RECORDS; ) {
      const letters = await waitingLetters(deps.store, tenant, at ? { at } : { after }, READ_AT_ONCE)
      for (const letter of letters) records.push(await replay(deps, letter))
      full = !at && letters.length === READ_AT_ONCE
      after = letters.at(-1) ?? after
    }
  }
  let waiting = 0
  for (const tenant of tenants) waiting += await countDeadLetters(deps.store, tenant)
  return { records, waiting }
}

async function replay({ store, now }: ReplayDeps, letter: WaitingLetter): Promise<Replayed> {
  const { log, partition, offset, knownAtMs, bytes } = letter
  const rows = [{ knownAtMs, partition, offset, batch: bytes }]
  let progress: ReturnType<typeof progressOf>
  try {
    progress = progressOf(rows)
    // Before it, so that a crash behind the insert leaves no shard that a checkpoint passes over; and after it, below.
    await markChanged(store, log, progress.marks, now())
    await insertRecords(store, log, rows)
  } catch (error) {
    if (!isDataError(error)) throw error
    const reason = (error as Error).message.slice(0, REASON_LENGTH)
    await noteReason(store, letter, reason)
    return { log, partition, offset, outcome: 'unreadable', reason }
  }
  const { marks, ranges } = progress
  const events = ranges.reduce((sum, range) => sum + range.events, 0)
  await markChanged(store, log, marks, now())
  await noteReplay(store, letter, events, now())
  return { log, partition, offset, outcome: 'replayed', events }
}
