import { setTimeout as sleep } from 'node:timers/promises'
import type { Consumer, EachBatchPayload, Kafka } from 'kafkajs'
import type { Logger } from 'pino'
import { openTopic, type Topic } from '../../schemas/event/topic.kafka.ts'
import type { Assignment, EventLogReader, Offsets } from './event-log.ts'
import { createRecordBuffer } from './record-buffer.ts'

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
/** Few tries: when they are used up kafkajs starts again with new connections, which is what helps. */
const RETRY = { initialRetryTime: 100, maxRetryTime: 5_000, retries: 5 }
const START_AGAIN_MS = 2_000

/**
 * The log on Kafka, read as a member of a consumer group, which only decides who reads what. Where reading goes on is
 * what `read` is asked for: nothing of a partition is fetched before that, and one whose fetching stands elsewhere is
 * sought there. Committed offsets feed dashboards. kafkajs pushes; the buffer turns that into the pull the pump wants.
 */
export function createKafkaLogReader(kafka: Kafka, options: KafkaReaderOptions, logger: Logger): EventLogReader {
  const { topic, partitions, clockMarginMs } = options
  const ofTopic = openTopic(kafka, topic, partitions)
  let stopping = false
  const consumer = kafka.consumer({
    groupId: options.groupId,
    sessionTimeout: options.sessionTimeoutMs,
    heartbeatInterval: Math.floor(options.sessionTimeoutMs / 6),
    maxWaitTimeInMs: 50,
    maxBytesPerPartition: 4 * 1024 ** 2,
    allowAutoTopicCreation: false,
    retry: { ...RETRY, restartOnFailure: async () => !stopping },
  })
  const buffer = createRecordBuffer()
  let assignment: Assignment = { generation: 0, partitions: [] }
  const trust = createTrust((nextOffsets) => requireRecords(ofTopic, topic, nextOffsets))
  const doubt = () => {
    trust.lose()
    buffer.clear()
  }
  const assign = (assigned: readonly number[]) => {
    doubt()
    assignment = { generation: assignment.generation + 1, partitions: [...assigned] }
  }
  const seek = (partition: number, offset: number) => {
    consumer.seek({ topic, partition, offset: String(offset) })
    consumer.resume([{ topic, partitions: [partition] }])
  }
  const eachBatch = takeInto({ ...buffer, stopping: () => stopping, doubt })
  const manual = { autoCommit: false, eachBatchAutoResolve: false }
  const run = () => consumer.run({ ...manual, partitionsConsumedConcurrently: partitions, eachBatch })

  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const assigned = [...(payload.memberAssignment[topic] ?? [])]
    consumer.pause([{ topic, partitions: assigned }])
    assign(assigned)
  })
  const stopRuns = runAgain(consumer, run, logger, () => assign([]))

  return {
    logId: topic,
    partitions,
    clockMarginMs,
    start: async () => {
      await ofTopic.connect()
      await consumer.connect()
      await consumer.subscribe({ topic, fromBeginning: true })
      await run()
    },
    stop: async () => {
      stopping = true
      stopRuns()
      await consumer.disconnect()
      await ofTopic.close()
    },
    assignment: () => assignment,
    read: async (nextOffsets, maxBytes) => {
      // While the consumer is down nothing is ours, and it could not seek.
      if (assignment.partitions.length === 0) return []
      await trust.have(nextOffsets)
      const ours = (offset: number | undefined, partition: number) =>
        assignment.partitions.includes(partition) ? offset : undefined
      return buffer.take(nextOffsets.map(ours), maxBytes, seek)
    },
    stored: committing(consumer, topic, () => assignment),
    ends: () => ofTopic.ends(),
    waitForMore: (waitMs) => buffer.wait(waitMs),
  }
}

type Taking = Pick<ReturnType<typeof createRecordBuffer>, 'push' | 'bytes'> & {
  stopping(): boolean
  /** What came is not what should come next. */
  doubt(): void
}

/** What kafkajs pushes goes into the buffer; while that is full the handler waits, and its session lives on. */
function takeInto({ push, bytes, stopping, doubt }: Taking): (payload: EachBatchPayload) => Promise<void> {
  return async ({ batch, heartbeat, isRunning, isStale, resolveOffset }) => {
    const unwanted = () => !isRunning() || isStale() || stopping()
    while (bytes() > BUFFER_BYTES && !unwanted()) {
      await heartbeat()
      await sleep(WAIT_FOR_ROOM_MS)
    }
    if (unwanted()) return
    for (const message of batch.messages) {
      const expected = push({
        knownAtMs: Number(message.timestamp),
        partition: batch.partition,
        offset: Number(message.offset),
        batch: message.value ?? Buffer.alloc(0),
      })
      if (!expected) return doubt()
    }
    resolveOffset(batch.lastOffset())
  }
}

/**
 * kafkajs starts again by itself after errors that it takes for passing ones, and else stays down without a word: a
 * member of another protocol in the group, say, or a missing permission. What stops it may be put right, so it is
 * started again whatever it was. Meanwhile nothing is ours.
 */
function runAgain(consumer: Consumer, run: () => Promise<void>, logger: Logger, down: () => void): () => void {
  let timer: NodeJS.Timeout | undefined
  let stopped = false
  consumer.on(consumer.events.CRASH, ({ payload }) => {
    down()
    if (stopped) return
    logger.warn({ error: payload.error }, 'the Kafka consumer starts again')
    if (!payload.restart) timer = setTimeout(() => void run(), START_AGAIN_MS)
  })
  return () => {
    stopped = true
    clearTimeout(timer)
  }
}

/** Commits now and then, for dashboards: a failed commit, usual in a rebalance, costs nothing. */
function committing(consumer: Consumer, topic: string, assignment: () => Assignment): (next: Offsets) => void {
  let committedAtMs = 0
  let underWay = false
  return (nextOffsets) => {
    if (underWay || Date.now() - committedAtMs < COMMIT_EVERY_MS) return
    // The broker takes a member's commits of any partition: those that went to another are left alone.
    const offsets = assignment().partitions.flatMap((partition) => {
      const offset = nextOffsets[partition]
      return offset === undefined ? [] : [{ topic, partition, offset: String(offset) }]
    })
    underWay = true
    const end = () => {
      underWay = false
      committedAtMs = Date.now()
    }
    consumer.commitOffsets(offsets).then(end, end)
  }
}

/** Looks at the topic before the first read, and again after something was not as expected. */
function createTrust(look: (nextOffsets: Offsets) => Promise<void>) {
  let trusted = false
  return {
    lose: () => {
      trusted = false
    },
    have: async (nextOffsets: Offsets): Promise<void> => {
      if (trusted) return
      // Before the look: what is seen during it asks for another.
      trusted = true
      try {
        await look(nextOffsets)
      } catch (error) {
        trusted = false
        throw error
      }
    },
  }
}

/**
 * kafkajs answers an offset that the topic does not have by going on at the topic's begin. So a topic that ends before
 * what was stored, being another one of the same name or one that lost records, and one whose records were removed
 * before they were stored, are told here, loudly and for as long as it is so: going on would lose events silently.
 */
async function requireRecords(ofTopic: Topic, topic: string, nextOffsets: Offsets): Promise<void> {
  const ranges = await ofTopic.ranges()
  for (const [partition, { first, end }] of ranges.entries()) {
    const next = nextOffsets[partition] ?? end
    const held = `partition ${partition} of ${topic} holds offsets ${first} to ${end}`
    if (next > end) throw new Error(`Before ${next} all is stored, but ${held}: it is another log, or has lost records`)
    if (next < first) throw new Error(`From ${next} on nothing is stored, but ${held}: records were removed too early`)
  }
}
