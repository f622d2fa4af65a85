import { encodeBatch } from '../../schemas/event/usage-batch.avro.ts'
import type { EventLogWriter, LogAppend } from './event-log.ts'

export type BatcherLimits = {
  /** Events gather this long for a record; the log's own group commit batches further. */
  lingerMs: number
  /** A record holds at most this many events. */
  maxEventsPerRecord: number
  /** A record holds at most this many bytes of events, unless one event alone is larger: Kafka takes 1 MB at most. */
  maxRecordBytes: number
  /** Above this many waiting bytes new events are refused. */
  maxQueuedBytes: number
}
export const DEFAULT_BATCHER_LIMITS: BatcherLimits = {
  lingerMs: 2,
  maxEventsPerRecord: 250,
  maxRecordBytes: 512 * 1024,
  maxQueuedBytes: 64 * 1024 ** 2,
}

export type Batcher = {
  /** Whether `bytes` more fit. Asked before a request is accepted: then nothing of it is kept. */
  hasRoom(bytes: number): boolean
  /** Resolves when the event is durable in the log. */
  add(partition: number, encodedEvent: Buffer): Promise<void>
  /** Sends what waits and resolves when nothing is under way any more. */
  drain(): Promise<void>
}

type Waiting = { encoded: Buffer; done: () => void; fail: (error: unknown) => void }

/** Events that wait for the same partition leave as one record. Memory is bounded by maxQueuedBytes. */
export function createBatcher(writer: EventLogWriter, limits: BatcherLimits): Batcher {
  const queues: Waiting[][] = Array.from({ length: writer.partitions }, () => [])
  const underWay = new Set<Promise<void>>()
  let queuedBytes = 0
  let timer: NodeJS.Timeout | undefined

  const flush = (): void => {
    clearTimeout(timer)
    timer = undefined
    const sent: Waiting[] = []
    const records: LogAppend[] = []
    queues.forEach((queue, partition) => {
      for (const part of cut(queue.splice(0), limits)) {
        records.push({ partition, record: encodeBatch(part.map((event) => event.encoded)) })
        sent.push(...part)
      }
    })
    if (records.length === 0) return
    const append = writer
      .append(records)
      .then(
        () => {
          for (const event of sent) event.done()
        },
        (error: unknown) => {
          for (const event of sent) event.fail(error)
        },
      )
      .finally(() => {
        for (const event of sent) queuedBytes -= event.encoded.length
        underWay.delete(append)
      })
    underWay.add(append)
  }

  return {
    hasRoom: (bytes) => queuedBytes + bytes <= limits.maxQueuedBytes,
    add: (partition, encoded) =>
      new Promise<void>((done, fail) => {
        const queue = queues[partition]
        if (!queue) throw new Error(`Partition ${partition} is not one of ${writer.partitions}`)
        queue.push({ encoded, done, fail })
        queuedBytes += encoded.length
        timer ??= setTimeout(flush, limits.lingerMs)
      }),
    drain: async () => {
      flush()
      while (underWay.size > 0) await Promise.all(underWay)
    },
  }
}

/** Cuts waiting events into records. */
function cut(events: readonly Waiting[], limits: BatcherLimits): Waiting[][] {
  const parts: Waiting[][] = []
  let part: Waiting[] = []
  let bytes = 0
  for (const event of events) {
    if (
      part.length >= limits.maxEventsPerRecord ||
      (part.length > 0 && bytes + event.encoded.length > limits.maxRecordBytes)
    ) {
      parts.push(part)
      part = []
      bytes = 0
    }
    part.push(event)
    bytes += event.encoded.length
  }
  return part.length > 0 ? [...parts, part] : parts
}
