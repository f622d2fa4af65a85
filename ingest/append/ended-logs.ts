import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { EventLogWriter } from './event-log.ts'
import { isStoredWithin } from './stored-within.ts'

/** A log that the present one followed. */
export type EndedLog = { logId: string; ends(): Promise<number[]> }

const WAIT_MS = 10_000
const POLL_MS = 50

/** The topic that events are written to now, as Postgres says. */
export type ActiveLog = () => Promise<string | undefined>

/**
 * Whoever asks where the log ends wants to know when everything before is stored: a quota counter that is loaded, a void
 * by filter, a revert. What lies in the logs before this one was appended earlier, so their rest is waited for first.
 * Appending and readiness do not wait. Where another log has followed this one, this process does not know what ends there
 * and refuses to say: it is to be started again. Away, Postgres is not waited for.
 */
export function afterEndedLogs(
  writer: EventLogWriter,
  ended: readonly EndedLog[],
  store: ClickHouseStore,
  activeLog: ActiveLog,
): EventLogWriter {
  return {
    ...writer,
    answers: writer.ends,
    ends: async () => {
      const active = await activeLog().catch(() => undefined)
      if (active !== undefined && active !== writer.logId)
        throw unavailable(`Events are written to the log ${active}, which this process does not know: start it again`)
      await Promise.all(ended.map((log) => restIsStored(store, log)))
      return writer.ends()
    },
  }
}

async function restIsStored(store: ClickHouseStore, { logId, ends }: EndedLog): Promise<void> {
  const until = await ends()
  if (await isStoredWithin(store, { logId, ends: until }, { waitMs: WAIT_MS, pollMs: POLL_MS })) return
  throw unavailable(`The rest of ${logId}, which has ended, was not stored within ${WAIT_MS} ms`)
}

function unavailable(detail: string): Problem {
  return new Problem('unavailable', detail, { retryAfterSeconds: 5 })
}
