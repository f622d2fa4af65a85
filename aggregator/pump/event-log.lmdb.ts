import { setTimeout as sleep } from 'node:timers/promises'
import type { Database } from 'lmdb'
import { decodeLogValue, type EmbeddedLogKey } from '../../schemas/event/embedded-log.ts'
import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'
import type { EventLogReader } from './event-log.ts'

/** How often an idle reader looks; a look costs a few microseconds. */
const LOOK_EVERY_MS = 25

/**
 * Reads the embedded log. A commit is visible before it is flushed, and after a power loss its offset could be given
 * to another record: so the ends are noted first, then the last commit's end is awaited, then only what lies before them
 * is read. One that fails, as on a full disk, ends as well, and keeps nobody from reading what was committed before.
 */
export function createLmdbLogReader(
  db: Database<Buffer, EmbeddedLogKey>,
  logId: string,
  partitions: number,
): EventLogReader {
  const all = { generation: 1, partitions: Array.from({ length: partitions }, (_, partition) => partition) }
  const committedEnds = () => Array.from({ length: partitions }, (_, partition) => endOf(db, partition))
  return {
    logId,
    partitions,
    clockMarginMs: 0,
    start: async () => undefined,
    stop: async () => undefined,
    assignment: () => all,
    stored: () => undefined,
    read: async (nextOffsets, maxBytes) => {
      const ends = committedEnds()
      await lastCommitEnded(db)
      const rows: LogRow[] = []
      for (let partition = 0; partition < partitions; partition++) {
        const from = nextOffsets[partition] ?? 0
        const range = readPartition(db, partition, from, ends[partition] ?? 0, maxBytes / partitions)
        rows.push(...range)
      }
      return rows
    },
    ends: async () => {
      // A write transaction of our own waits for every one that was begun before: a barrier.
      await db.transaction(() => undefined)
      const ends = committedEnds()
      await lastCommitEnded(db)
      return ends
    },
    waitForMore: (waitMs) => sleep(Math.min(waitMs, LOOK_EVERY_MS)),
  }
}

async function lastCommitEnded(db: Pick<Database, 'flushed'>): Promise<void> {
  const ended = () => undefined
  await db.flushed.then(ended, ended)
}

function readPartition(
  db: Database<Buffer, EmbeddedLogKey>,
  partition: number,
  from: number,
  end: number,
  maxBytes: number,
): LogRow[] {
  const rows: LogRow[] = []
  let bytes = 0
  if (from >= end) return rows
  for (const { key, value } of db.getRange({ start: [partition, from], end: [partition, end] })) {
    const { knownAtMs, record } = decodeLogValue(value)
    rows.push({ knownAtMs, partition, offset: key[1], batch: record })
    bytes += record.length
    if (bytes >= maxBytes) break
  }
  return rows
}

function endOf(db: Database<Buffer, EmbeddedLogKey>, partition: number): number {
  const last = db.getKeys({
    start: [partition, Number.MAX_SAFE_INTEGER],
    end: [partition, -1],
    reverse: true,
    limit: 1,
  })
  for (const key of last) return key[1] + 1
  return 0
}
