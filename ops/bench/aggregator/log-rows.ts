import type { EncodedEvent } from '../../../ingest/append/batcher.ts'
import { encodeBatch, type LogRow } from '../../../schemas/event/usage-batch.avro.ts'

/** Of a request of 100 events, or of several small ones that met in the batcher. */
const EVENTS_PER_RECORD = 100
export const PARTITIONS = 12

export type Records = { next(events: readonly EncodedEvent[]): LogRow[] }

/** Events as the log holds them, dense offsets in each partition. */
export function createRecords(): Records {
  let made = 0
  return {
    next: (events) => {
      const knownAtMs = Date.now()
      const rows: LogRow[] = []
      for (let first = 0; first < events.length; first += EVENTS_PER_RECORD) {
        const batch = encodeBatch(events.slice(first, first + EVENTS_PER_RECORD).map((event) => event.encoded))
        rows.push({ knownAtMs, partition: made % PARTITIONS, offset: Math.floor(made / PARTITIONS), batch })
        made++
      }
      return rows
    },
  }
}
