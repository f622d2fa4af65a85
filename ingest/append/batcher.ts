import { encodeBatch } from '../../schemas/event/usage-batch.avro.ts'
import type { EventLogWriter, LogAppend } from './event-log.ts'

export type BatcherLimits = {
  /** Events gather this long for a record; the log's own group commit batches further. */
  lingerMs: number
  /** While an append is under way they gather until it ends, at most this long: under load fewer and larger records. */
  busyLingerMs: number
  /** A record holds at most this many events. */
  maxEventsPerRecord: number
  /** A record holds at most this many bytes of events, unless one event alone is larger: Kafka takes 1 MB at most. */
  maxRecordBytes: number
  /** Above this many waiting bytes new events are refused. */
  maxQueuedBytes: number
}
export const DEFAULT_BATCHER_LIMITS: BatcherLimits = {
  lingerMs: 2,
  busyLingerMs: 10,
  maxEventsPerRecord: 250,
  maxRecordBytes: 512 * 1024,
  maxQueuedBytes: 64 * 1024 ** 2,
}

/** An event as the log takes it. */
export type EncodedEvent = { partition: number; encoded: Buffer }

export type Batcher = {
  /** Whether `bytes` more fit. Asked before a request is accepted: then nothing of it is kept. */
  hasRoom(bytes: number): boolean
  /** Resolves when all of them are durable in the log; rejects when that is not known of some. */
  add(events: readonly EncodedEvent[]): Promise<void>
  /** Sends what waits and resolves when nothing is under way any more. */
  drain(): Promise<void>
}

/** Events that came together are answered together. */
type Waiting = { events: readonly EncodedEvent[]; bytes: number; done: () => void; fail: (error: unknown) => void }

/** Events that wait for the same partition leave as one record. Memory is bounded by maxQueuedBytes. */
export function createBatcher(writer: EventLogWriter, limits: BatcherLimits): Batcher {
  let waiting: Waiting[] = []
  const underWay = new Set<Promise<void>>()
  let queuedBytes = 0
  let timer: NodeJS.Timeout | undefined

  const flush = (): void => {
    clearTimeout(timer)
    timer = undefined
    if (waiting.length === 0) return
    const sent = waiting
    waiting = []
    const append = writer
      .append(recordsOf(sent, writer.partitions, limits))
      .then(
        () => {
          for (const one of sent) one.done()
        },
        (error: unknown) => {
          for (const one of sent) one.fail(error)
        },
      )
      .finally(() => {
        for (const one of sent) queuedBytes -= one.bytes
        underWay.delete(append)
        if (underWay.size === 0) flush()
      })
    underWay.add(append)
  }

  return {
    hasRoom: (bytes) => queuedBytes + bytes <= limits.maxQueuedBytes,
    add: (events) =>
      new Promise<void>((done, fail) => {
        const wrong = events.find(({ partition }) => !(partition < writer.partitions))
        if (wrong) throw new Error(`Partition ${wrong.partition} is not one of ${writer.partitions}`)
        const bytes = bytesOf(events)
        waiting.push({ events, bytes, done, fail })
        queuedBytes += bytes
        timer ??= setTimeout(flush, underWay.size === 0 ? limits.lingerMs : limits.busyLingerMs)
      }),
    drain: async () => {
      flush()
      while (underWay.size > 0) await Promise.all(underWay)
    },
  }
}

export function bytesOf(events: readonly EncodedEvent[]): number {
  return events.reduce((sum, { encoded }) => sum + encoded.length, 0)
}

function recordsOf(sent: readonly Waiting[], partitions: number, limits: BatcherLimits): LogAppend[] {
  const queues: Buffer[][] = Array.from({ length: partitions }, () => [])
  for (const { events } of sent) for (const { partition, encoded } of events) queues[partition]?.push(encoded)
  return queues.flatMap((queue, partition) =>
    cut(queue, limits).map((part) => ({ partition, record: encodeBatch(part) })),
  )
}

/** Cuts waiting events into records. */
function cut(events: readonly Buffer[], limits: BatcherLimits): Buffer[][] {
  const parts: Buffer[][] = []
  let part: Buffer[] = []
  let bytes = 0
  for (const encoded of events) {
    if (
      part.length >= limits.maxEventsPerRecord ||
      (part.length > 0 && bytes + encoded.length > limits.maxRecordBytes)
    ) {
      parts.push(part)
      part = []
      bytes = 0
    }
    part.push(encoded)
    bytes += encoded.length
  }
  return part.length > 0 ? [...parts, part] : parts
}
