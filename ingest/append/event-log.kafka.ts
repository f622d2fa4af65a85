import { type GenericError, type MessageToProduce, type ProduceResult, Producer } from '@platformatic/kafka'
import { brokerSettings } from '../../schemas/event/broker-settings.kafka.ts'
import { renewing } from '../../schemas/event/renewing.kafka.ts'
import { openTopic } from '../../schemas/event/topic.kafka.ts'
import type { EventLogWriter, LogAppend } from './event-log.ts'

export type KafkaLogWriter = EventLogWriter & { connect(): Promise<void>; close(): Promise<void> }

export type KafkaLogOptions = {
  /** `host:port` each. */
  brokers: string[]
  /** Also the log's name: a topic is never grown or made anew under the same name. */
  topic: string
  partitions: number
  /** What an append may take before its events fail and the sender is told to repeat. */
  appendWithinMs?: number
  /** What could not be sent in time is kept until its requests end: beyond this, appends fail at once. */
  maxHeldBytes?: number
}

/** What the leader may wait for its replicas. */
const REPLICATE_WITHIN_MS = 8_000
const HEADERS = new Map([[Buffer.from('schema'), Buffer.from('dev.tallyline.UsageBatch/1')]])
/** All that a send has for a partition is one batch, and a broker takes a batch of 1 MiB at most. */
const BATCH_BYTES = 1_000_000
const BYTES_AROUND_A_RECORD = 100

type Bytes = Producer<Buffer, Buffer, Buffer, Buffer>

/**
 * The log on Kafka: acks=all, so that a resolved append is on every in-sync replica. The producer is not idempotent:
 * a record that a retry writes twice is a copy, and identity decides (design §7).
 */
export function createKafkaLogWriter(options: KafkaLogOptions): KafkaLogWriter {
  const { brokers, topic, partitions, appendWithinMs = 15_000, maxHeldBytes = 128 * 1024 ** 2 } = options
  const producers = renewing(() => openProducer(brokers, topic, partitions))
  const ofTopic = openTopic(brokers, topic, partitions)
  let heldBytes = 0

  const sendAll = async (producer: Bytes, records: readonly LogAppend[], untilMs: number): Promise<void> => {
    // One after the other: that keeps the order within a partition.
    for (const part of inBatches(records)) {
      // Not a return: that would acknowledge what was not sent, if the clock was set forward and nobody is late yet.
      if (Date.now() > untilMs) throw new Error('There was no time to send all records')
      const messages = part.map(({ partition, record }) => ({ topic, partition, value: record, headers: HEADERS }))
      requireAll(part, await send(producer, messages))
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
      const work = ({ producer }: { producer: Bytes }) => sendAll(producer, records, untilMs)
      await producers.use(appendWithinMs, work, () => {
        heldBytes -= bytes
      })
    },
    ends: () => ofTopic.ends(),
  }
}

function openProducer(brokers: string[], topic: string, partitions: number) {
  const producer: Bytes = new Producer({
    ...brokerSettings(brokers),
    acks: -1,
    timeout: REPLICATE_WITHIN_MS,
  })
  return {
    producer,
    connect: async () => {
      const { topics } = await producer.metadata({ topics: [topic] })
      // A partition that is not there would be taken for another, modulo their number.
      const found = topics.get(topic)?.partitionsCount ?? 0
      if (found < partitions) throw new Error(`Topic ${topic} has ${found} partitions, not ${partitions}`)
    },
    disconnect: () => producer.close(),
  }
}

/** The reason is the broker's where it gave one. */
async function send(
  producer: Bytes,
  messages: MessageToProduce<Buffer, Buffer, Buffer, Buffer>[],
): Promise<ProduceResult> {
  try {
    return await producer.send({ acks: -1, messages })
  } catch (error) {
    const told = (error as GenericError).findBy?.('code', 'PLT_KFK_PROTOCOL')
    throw told ?? error
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

/** Only what the broker named is stored. */
function requireAll(sent: readonly LogAppend[], { offsets = [] }: ProduceResult): void {
  const acknowledged = new Set(offsets.map(({ partition }) => partition))
  const missing = sent.find(({ partition }) => !acknowledged.has(partition))
  if (missing) throw new Error(`Kafka did not acknowledge records for partition ${missing.partition}`)
}
