import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import type { EventLogWriter } from '../../append/event-log.ts'
import { isStoredWithin } from '../../append/stored-within.ts'

const POLL_MS = 100

/** Resolves when everything is in usage that the log holds now. */
export async function untilStored(
  { usage, writer }: { usage: ClickHouseStore; writer: Pick<EventLogWriter, 'logId' | 'ends'> },
  waitMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const { logId } = writer
  if (await isStoredWithin(usage, { logId, ends: await writer.ends() }, { waitMs, pollMs: POLL_MS, signal })) return
  throw new Error(`usage did not catch up with the log within ${waitMs} ms: does an aggregator run?`)
}
