import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'
import type { Offsets } from './event-log.ts'

/** Fetched records waiting for the pump, dense per partition. */
export type RecordBuffer = {
  push(row: LogRow): void
  /**
   * The records from the wanted offsets on, which stay until a later offset is wanted. A partition whose records do
   * not start at the wanted offset is emptied and sought there.
   */
  take(wanted: Offsets, maxBytes: number, seek: (partition: number, offset: number) => void): LogRow[]
  clear(): void
  bytes(): number
  wait(waitMs: number): Promise<void>
}

type Queue = { rows: LogRow[]; next: number }

export function createRecordBuffer(): RecordBuffer {
  const queues = new Map<number, Queue>()
  let bytes = 0
  let arrived = () => {}

  const drop = (queue: Queue, count: number) => {
    for (const row of queue.rows.splice(0, count)) bytes -= row.batch.length
  }
  return {
    push: (row) => {
      const queue = queues.get(row.partition)
      // Nobody asked for the partition yet, or a stale fetch: what comes is not what is expected, and is fetched again.
      if (!queue || row.offset !== queue.next) return
      queue.rows.push(row)
      queue.next = row.offset + 1
      bytes += row.batch.length
      arrived()
    },
    take: (wanted, maxBytes, seek) => {
      const rows: LogRow[] = []
      let taken = 0
      for (const [partition, offset] of wanted.entries()) {
        if (offset === undefined) continue
        const queue = queues.get(partition)
        const first = queue ? (queue.rows[0]?.offset ?? queue.next) : undefined
        if (!queue || first === undefined || offset < first || offset > queue.next) {
          if (queue) drop(queue, queue.rows.length)
          queues.set(partition, { rows: [], next: offset })
          seek(partition, offset)
          continue
        }
        drop(queue, offset - first)
        for (const row of queue.rows) {
          if (taken >= maxBytes) break
          rows.push(row)
          taken += row.batch.length
        }
      }
      return rows
    },
    clear: () => {
      queues.clear()
      bytes = 0
    },
    bytes: () => bytes,
    wait: (waitMs) =>
      new Promise<void>((resume) => {
        const timer = setTimeout(resume, waitMs)
        arrived = () => {
          clearTimeout(timer)
          resume()
        }
      }),
  }
}
