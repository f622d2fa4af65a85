import { CompressionTypes, type Kafka, type Producer, type RecordMetadata } from 'kafkajs'
import { renewing } from '../../schemas/event/renewing.kafka.ts'
import { openTopic } from '../../schemas/event/topic.kafka.ts'
import type { EventLogWriter, LogAppend } from './event-log.ts'

export type KafkaLogWriter = EventLogWriter & { connect(): Promise<void>; close(): Promise<void> }

export type KafkaLogOptions = {
  /** Also the log's name: a topic is never grown or made anew under the same name. */
  topic: string
  partitions: number
  /** What an append may take before its events fail and the sender is told to repeat. */
  appendWithinMs?: number
  /** kafkajs keeps what it could not send in time until its retries end: beyond this, appends fail at once. */
  maxHeldBytes?: number
}

/** What the leader may wait for its replicas. kafkajs gives a request up somewhat later. */
const REPLICATE_WITHIN_MS = 8_000
const RETRY = { initialRetryTime: 50, maxRetryTime: 2_000, retries: 8 }
const HEADERS = { schema: 'dev.tallyline.UsageBatch/1' }
/** kafkajs makes one batch of all that a send has for a partition, and a broker takes a batch of 1 MiB at most. */
const BATCH_BYTES = 1_000_000
const BYTES_AROUND_A_RECORD = 100

/**
 * The log on Kafka: acks=all, so that a resolved append is on every in-sync replica. The producer is not idempotent:
 * a record that a retry writes twice is a copy, and identity decides (design §7).
 */
export function createKafkaLogWriter(kafka: Kafka, options: KafkaLogOptions): KafkaLogWriter {
  const { topic, partitions, appendWithinMs = 15_000, maxHeldBytes = 128 * 1024 ** 2 } = options
  const producers = renewing(() => kafka.producer({ allowAutoTopicCreation: false, retry: RETRY }))
  const ofTopic = openTopic(kafka, topic, partitions)
  let heldBytes = 0

  const sendAll = async (producer: Producer, records: readonly LogAppend[], untilMs: number): Promise<void> => {
    // One after the other: that keeps the order within a partition.
    for (const part of inBatches(records)) {
      if (Date.now() > untilMs) return
      const messages = part.map(({ partition, record }) => ({ partition, value: record, headers: HEADERS }))
      const delivery = { acks: -1, timeout: REPLICATE_WITHIN_MS, compression: CompressionTypes.None }
      requireAll(part, await producer.send({ topic, messages, ...delivery }))
    }
  }

  return {
    logId: topic,
    partitions,
    connect: async () => {
      await producers.connect()
      await ofTopic.connect()
    },
    close: async () => {
      await producers.close()
      await ofTopic.close()
    },
    append: async (records) => {
      const bytes = records.reduce((sum, { record }) => sum + record.length, 0)
      if (heldBytes + bytes > maxHeldBytes)
        throw new Error(`Kafka does not answer, and ${heldBytes} bytes wait for it already`)
      heldBytes += bytes
      const untilMs = Date.now() + appendWithinMs
      const send = (producer: Producer) => sendAll(producer, records, untilMs)
      await producers.use(appendWithinMs, send, () => {
        heldBytes -= bytes
      })
    },
    ends: () => ofTopic.ends(),
  }
}

/** Cuts records so that those of one partition fit into one batch. */
function inBatches(records: readonly LogAppend[]): LogAppend[][] {
  const parts: LogAppend[][] = []
  let part: LogAppend[] = []
  let bytes = new Map<number, number>()
  for (const one of records) {
    const size = one.record.length + BYTES_AROUND_A_RECORD
    const before = bytes.get(one.partition) ?? 0
    if (before > 0 && before + size > BATCH_BYTES) {
      parts.push(part)
      part = []
      bytes = new Map()
    }
    part.push(one)
    bytes.set(one.partition, (bytes.get(one.partition) ?? 0) + size)
  }
  return part.length > 0 ? [...parts, part] : parts
}

/**
 * kafkajs resolves a send without having sent the records of a partition that its metadata does not name, or whose
 * leader moved, between two tries, to a broker that had answered already: only what the broker named is stored.
 */
function requireAll(sent: readonly LogAppend[], answers: readonly RecordMetadata[]): void {
  const acknowledged = new Set(answers.filter(({ errorCode }) => errorCode === 0).map(({ partition }) => partition))
  const missing = sent.find(({ partition }) => !acknowledged.has(partition))
  if (missing) throw new Error(`Kafka did not acknowledge records for partition ${missing.partition}`)
}
