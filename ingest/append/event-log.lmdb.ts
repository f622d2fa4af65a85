import type { Database } from 'lmdb'
import { decodeLogValue, type EmbeddedLogKey, encodeLogValue } from '../../schemas/event/embedded-log.ts'
import type { EventLogWriter, LogAppend } from './event-log.ts'

type Waiting = { records: readonly LogAppend[]; done: () => void; fail: (error: unknown) => void }

/**
 * The embedded log: group commit. While one transaction is committed and flushed, further appends gather for the
 * next; all of a transaction's callers are answered after `flushed`, which means fsynced.
 * Offsets and append times are drawn inside the transaction, so a failed one leaves no hole.
 */
export function createLmdbLogWriter(
  db: Database<Buffer, EmbeddedLogKey>,
  logId: string,
  partitions: number,
  now: () => number,
): EventLogWriter {
  const nextOffsets = Array.from({ length: partitions }, (_, partition) => lastEntry(db, partition).offset + 1)
  let lastKnownAtMs = Math.max(
    ...Array.from({ length: partitions }, (_, partition) => lastEntry(db, partition).knownAtMs),
  )
  let waiting: Waiting[] = []
  let committing = false

  const commit = async (group: Waiting[]): Promise<void> => {
    const offsets = [...nextOffsets]
    const knownAtMs = Math.max(lastKnownAtMs, now())
    // A child transaction: one that throws is undone, while a plain one would leave what it had put.
    await db.childTransaction(() => {
      for (const { records } of group) {
        for (const { partition, record } of records) {
          const offset = offsets[partition] ?? 0
          db.put([partition, offset], encodeLogValue(knownAtMs, record))
          offsets[partition] = offset + 1
        }
      }
    })
    // Before the flush: if that fails the records are there all the same, and others must not take their offsets.
    offsets.forEach((offset, partition) => {
      nextOffsets[partition] = offset
    })
    lastKnownAtMs = knownAtMs
    await db.flushed
  }

  const run = async (): Promise<void> => {
    committing = true
    while (waiting.length > 0) {
      const group = waiting
      waiting = []
      try {
        await commit(group)
        for (const { done } of group) done()
      } catch (error) {
        leaveNothingUnhandled(db, error)
        for (const { fail } of group) fail(error)
      }
    }
    committing = false
  }

  return {
    logId,
    partitions,
    ends: async () => [...nextOffsets],
    append: (records) =>
      new Promise<void>((done, fail) => {
        waiting.push({ records, done, fail })
        if (!committing) void run()
      }),
  }
}

/**
 * When a commit failed, as on a full disk, nothing of it is there and the next one may succeed. The store then rejects two
 * more promises that nobody has, which would end the process (seen with lmdb 3.5).
 */
function leaveNothingUnhandled(db: Pick<Database, 'committed'>, error: unknown): void {
  const ignore = () => undefined
  db.committed.then(ignore, ignore)
  const { commitError } = error as { commitError?: Promise<unknown> }
  commitError?.catch(ignore)
}

function lastEntry(db: Database<Buffer, EmbeddedLogKey>, partition: number): { offset: number; knownAtMs: number } {
  for (const { key, value } of db.getRange({
    start: [partition, Number.MAX_SAFE_INTEGER],
    end: [partition, -1],
    reverse: true,
    limit: 1,
  })) {
    return { offset: key[1], knownAtMs: decodeLogValue(value).knownAtMs }
  }
  return { offset: -1, knownAtMs: 0 }
}
