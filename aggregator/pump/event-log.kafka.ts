import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, Consumer, EachBatchPayload, Kafka } from 'kafkajs'
import type { Logger } from 'pino'
import { topicEnds } from '../../schemas/event/topic.kafka.ts'
import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'
import type { EventLogReader, Offsets } from './event-log.ts'
import { createRecordBuffer, type RecordBuffer } from './record-buffer.ts'

export type KafkaReaderOptions = {
  /** Also the log's name. */
  topic: string
  partitions: number
  groupId: string
  sessionTimeoutMs: number
  clockMarginMs: number
}

/** Fetched ahead of the store at most; a handler waits, heartbeating, until there is room. */
const BUFFER_BYTES = 32 * 1024 ** 2
const WAIT_FOR_ROOM_MS = 100
const COMMIT_EVERY_MS = 5_000
const RETRY = { initialRetryTime: 100, maxRetryTime: 5_000, retries: 20 }

/**
 * The log on Kafka, read as a member of a consumer group, which only decides who reads what. Where reading goes on is
 * what `read` is asked for: a partition whose fetching stands elsewhere is sought there. Committed offsets feed
 * dashboards. kafkajs pushes; the buffer turns that into the pull the pump wants, with bounded memory.
 */
export function createKafkaLogReader(kafka: Kafka, options: KafkaReaderOptions, logger: Logger): EventLogReader {
  const { topic, partitions } = options
  const admin: Admin = kafka.admin({ retry: RETRY })
  const consumer: Consumer = kafka.consumer({
    groupId: options.groupId,
    sessionTimeout: options.sessionTimeoutMs,
    heartbeatInterval: Math.floor(options.sessionTimeoutMs / 6),
    maxWaitTimeInMs: 50,
    maxBytesPerPartition: 4 * 1024 ** 2,
    allowAutoTopicCreation: false,
    retry: { ...RETRY, restartOnFailure: async () => true },
  })
  const buffer = createRecordBuffer()
  let assignment = { generation: 0, partitions: [] as number[] }
  let stopping = false
  let committedAtMs = 0

  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    buffer.clear()
    assignment = { generation: assignment.generation + 1, partitions: [...(payload.memberAssignment[topic] ?? [])] }
  })
  consumer.on(consumer.events.CRASH, ({ payload }) =>
    logger.warn({ error: payload.error }, 'the Kafka consumer starts again'),
  )

  const take = takeInto(buffer, () => stopping)
  const seek = (partition: number, offset: number) => consumer.seek({ topic, partition, offset: String(offset) })

  return {
    logId: topic,
    partitions,
    clockMarginMs: options.clockMarginMs,
    start: async () => {
      await admin.connect()
      await requireAppendTimes(admin, topic)
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      const run = { autoCommit: false, eachBatchAutoResolve: false, partitionsConsumedConcurrently: partitions }
      await consumer.run({ ...run, eachBatch: take })
    },
    stop: async () => {
      stopping = true
      await consumer.disconnect()
      await admin.disconnect()
    },
    assignment: () => assignment,
    read: async (nextOffsets, maxBytes): Promise<LogRow[]> => buffer.take(nextOffsets, maxBytes, seek),
    stored: (nextOffsets: Offsets) => {
      if (Date.now() - committedAtMs < COMMIT_EVERY_MS) return
      committedAtMs = Date.now()
      const offsets = nextOffsets.flatMap((offset, partition) =>
        offset === undefined ? [] : [{ topic, partition, offset: String(offset) }],
      )
      // Only dashboards read these: a failed commit, usual in a rebalance, costs nothing.
      consumer.commitOffsets(offsets).catch(() => undefined)
    },
    ends: () => topicEnds(admin, topic, partitions),
    waitForMore: (waitMs) => buffer.wait(waitMs),
  }
}

/** What kafkajs pushes goes into the buffer; while that is full the handler waits, and its session lives on. */
function takeInto(buffer: RecordBuffer, stopping: () => boolean): (payload: EachBatchPayload) => Promise<void> {
  return async ({ batch, heartbeat, isRunning, isStale, resolveOffset }) => {
    const unwanted = () => !isRunning() || isStale() || stopping()
    while (buffer.bytes() > BUFFER_BYTES && !unwanted()) {
      await heartbeat()
      await sleep(WAIT_FOR_ROOM_MS)
    }
    if (unwanted()) return
    for (const message of batch.messages) {
      buffer.push({
        knownAtMs: Number(message.timestamp),
        partition: batch.partition,
        offset: Number(message.offset),
        batch: message.value ?? Buffer.alloc(0),
      })
    }
    resolveOffset(batch.lastOffset())
  }
}

/** A record's time is when the broker appended it: the order of first copies, and seals, rest on that. */
async function requireAppendTimes(admin: Admin, topic: string): Promise<void> {
  const name = 'message.timestamp.type'
  // 2 is the protocol's number of a topic as a configuration resource.
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: 2, name: topic, configNames: [name] }],
  })
  const value = resources[0]?.configEntries.find((entry) => entry.configName === name)?.configValue
  if (value !== 'LogAppendTime') throw new Error(`Topic ${topic} has ${name}=${value}: set it to LogAppendTime`)
}
