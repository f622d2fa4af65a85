import { setTimeout as sleep } from 'node:timers/promises'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { isStoredUpTo } from '../../schemas/clickhouse/stored-ends.clickhouse.ts'
import type { EventLogWriter } from './event-log.ts'

/** A log that the present one followed. */
export type EndedLog = { logId: string; ends(): Promise<number[]> }

const WAIT_MS = 10_000
const POLL_MS = 50

/**
 * Whoever asks where the log ends wants to know when everything before is stored: a quota counter that is loaded, a void
 * by filter, a revert. What lies in the logs before this one was appended earlier, so their rest is waited for first.
 * Appending and readiness do not wait.
 */
export function afterEndedLogs(
  writer: EventLogWriter,
  ended: readonly EndedLog[],
  store: ClickHouseStore,
): EventLogWriter {
  if (ended.length === 0) return writer
  return {
    ...writer,
    answers: writer.ends,
    ends: async () => {
      await Promise.all(ended.map((log) => restIsStored(store, log)))
      return writer.ends()
    },
  }
}

async function restIsStored(store: ClickHouseStore, { logId, ends }: EndedLog): Promise<void> {
  const until = await ends()
  for (let waitedMs = 0; waitedMs < WAIT_MS; waitedMs += POLL_MS) {
    if (await isStoredUpTo(store, logId, until)) return
    await sleep(POLL_MS)
  }
  throw new Error(`The rest of ${logId}, which has ended, was not stored within ${WAIT_MS} ms`)
}
