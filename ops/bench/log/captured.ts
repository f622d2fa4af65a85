import {
  type Batcher,
  createBatcher,
  DEFAULT_BATCHER_LIMITS,
  type EncodedEvent,
} from '../../../ingest/append/batcher.ts'
import type { EventLogWriter, LogAppend } from '../../../ingest/append/event-log.ts'

/** As many events as one request carries are handed over together, for so many requests at a time. */
const EVENTS_PER_REQUEST = 100
const REQUESTS_AT_ONCE = 32

/** What the writer was given, append by append, and how many appends were under way at once. */
export type Captured = { appends: (readonly LogAppend[])[]; atOnce: number }

/** Sends events as the edge does, and notes what left the batcher: the floor sends exactly that. */
export async function sendBatched(writer: EventLogWriter, events: readonly EncodedEvent[]): Promise<Captured> {
  const captured: Captured = { appends: [], atOnce: 1 }
  let underWay = 0
  const append = async (records: readonly LogAppend[]) => {
    captured.appends.push(records)
    underWay++
    captured.atOnce = Math.max(captured.atOnce, underWay)
    await writer.append(records).finally(() => underWay--)
  }
  const batcher: Batcher = createBatcher({ ...writer, append }, DEFAULT_BATCHER_LIMITS)
  const request = (first: number) => batcher.add(events.slice(first, first + EVENTS_PER_REQUEST))
  const requests = Math.ceil(events.length / EVENTS_PER_REQUEST)
  await atOnce(REQUESTS_AT_ONCE, requests, (index) => request(index * EVENTS_PER_REQUEST))
  return captured
}

/** Sends what was captured, as many appends at once. */
export function replay({ appends, atOnce: most }: Captured, send: (records: readonly LogAppend[]) => Promise<unknown>) {
  return atOnce(most, appends.length, (index) => send(appends[index] ?? []))
}

async function atOnce(most: number, count: number, work: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0
  const worker = async () => {
    while (next < count) await work(next++)
  }
  await Promise.all(Array.from({ length: most }, worker))
}
