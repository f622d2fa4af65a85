import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'
import type { Offsets } from './event-log.ts'

/** Fetched records waiting for the pump, dense per partition. */
export type RecordBuffer = {
  /** False: it is not the record that the partition's next one should be, and is not kept. */
  push(row: LogRow): boolean
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
      // Nobody asked for the partition yet: it is fetched again.
      if (!queue) return true
      if (row.offset !== queue.next) return false
      queue.rows.push(row)
      queue.next = row.offset + 1
      bytes += row.batch.length
      arrived()
      return true
    },
    take: (wanted, maxBytes, seek) => {
      const rows: LogRow[] = []
      // The same share for each, so that a busy partition does not starve the others.
      const share = maxBytes / wanted.filter((offset) => offset !== undefined).length
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
        let taken = 0
        for (const row of queue.rows) {
          if (taken >= share) break
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
