import { type Admin, CompressionTypes, type Kafka, type Producer } from 'kafkajs'
import { topicEnds } from '../../schemas/event/topic.kafka.ts'
import type { EventLogWriter, LogAppend } from './event-log.ts'

export type KafkaLogWriter = EventLogWriter & { connect(): Promise<void>; close(): Promise<void> }

/** `topic` is also the log's name: a topic is never grown or made anew under the same name. */
export type KafkaLogOptions = { topic: string; partitions: number }

/** What a send may take before its events fail and the sender is told to repeat. */
const SEND_TIMEOUT_MS = 15_000
const RETRY = { initialRetryTime: 50, maxRetryTime: 2_000, retries: 8 }
const HEADERS = { schema: 'dev.tallyline.UsageBatch/1' }

/**
 * The log on Kafka: acks=all, so that a resolved append is on every in-sync replica. The producer is not idempotent:
 * a record that a retry writes twice is a copy, and identity decides (design §7).
 */
export function createKafkaLogWriter(kafka: Kafka, { topic, partitions }: KafkaLogOptions): KafkaLogWriter {
  const producer: Producer = kafka.producer({ allowAutoTopicCreation: false, retry: RETRY })
  const admin: Admin = kafka.admin({ retry: RETRY })
  return {
    logId: topic,
    partitions,
    connect: async () => {
      await producer.connect()
      await admin.connect()
    },
    close: async () => {
      await producer.disconnect()
      await admin.disconnect()
    },
    append: async (records: readonly LogAppend[]) => {
      const messages = records.map(({ partition, record }) => ({ partition, value: record, headers: HEADERS }))
      await producer.send({ topic, messages, acks: -1, timeout: SEND_TIMEOUT_MS, compression: CompressionTypes.None })
    },
    ends: () => topicEnds(admin, topic, partitions),
  }
}
