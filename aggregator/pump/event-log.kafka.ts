import type { Logger } from 'pino'
import { openTopic, type Topic } from '../../schemas/event/topic.kafka.ts'
import type { Assignment, EventLogReader, Offsets } from './event-log.ts'
import { startFetching } from './fetch.kafka.ts'
import { type GroupConsumer, type GroupMember, keepMembership } from './group-member.kafka.ts'
import { createRecordBuffer } from './record-buffer.ts'

export type KafkaReaderOptions = {
  /** `host:port` each. */
  brokers: string[]
  /** Also the log's name. */
  topic: string
  partitions: number
  groupId: string
  sessionTimeoutMs: number
  clockMarginMs: number
}

/** Fetched ahead of the store at most, and one fetch more. */
const BUFFER_BYTES = 32 * 1024 ** 2
const COMMIT_EVERY_MS = 5_000

/**
 * The log on Kafka, read as a member of a consumer group, which only decides who reads what. Where reading goes on is
 * what `read` is asked for: nothing of a partition is fetched before that. Committed offsets feed dashboards.
 */
export function createKafkaLogReader(options: KafkaReaderOptions, logger: Logger): EventLogReader {
  const { brokers, topic, partitions, clockMarginMs } = options
  const ofTopic = openTopic(brokers, topic, partitions)
  const buffer = createRecordBuffer()
  const positions = new Map<number, number>()
  let assignment: Assignment = { generation: 0, partitions: [] }
  let member: GroupMember | undefined
  let fetching: ReturnType<typeof startFetching> | undefined
  const trust = createTrust((nextOffsets) => requireRecords(ofTopic, topic, nextOffsets))
  const troubled = new Set<number>()
  const doubt = () => {
    trust.lose()
    buffer.clear()
    positions.clear()
    troubled.clear()
  }
  const told = (partition: number, fetched: boolean) => {
    if (fetched) troubled.delete(partition)
    else troubled.add(partition)
  }
  const assign = (assigned: readonly number[]) => {
    doubt()
    assignment = { generation: assignment.generation + 1, partitions: [...assigned].sort((a, b) => a - b) }
  }

  return {
    logId: topic,
    partitions,
    clockMarginMs,
    start: async () => {
      await ofTopic.connect()
      member = keepMembership(options, logger, assign)
      const hasRoom = () => buffer.bytes() <= BUFFER_BYTES
      fetching = startFetching(brokers, topic, { positions, take: buffer.push, hasRoom, doubt, told }, logger)
    },
    stop: async () => {
      await Promise.all([member?.stop(), fetching?.stop()])
      await ofTopic.close()
    },
    assignment: () => assignment,
    read: async (nextOffsets, maxBytes) => {
      if (assignment.partitions.length === 0) return []
      // Nothing to read is one thing, and nothing that can be read another: whoever waits for records is to know.
      if (assignment.partitions.every((partition) => troubled.has(partition))) trust.lose()
      await trust.have(nextOffsets)
      const ours = (offset: number | undefined, partition: number) =>
        assignment.partitions.includes(partition) ? offset : undefined
      return buffer.take(nextOffsets.map(ours), maxBytes, (partition, offset) => positions.set(partition, offset))
    },
    stored: committing(
      () => member?.consumer(),
      topic,
      () => assignment,
    ),
    ends: () => ofTopic.ends(),
    waitForMore: (waitMs) => buffer.wait(waitMs),
  }
}

/** Commits now and then, for dashboards: a failed commit, usual in a rebalance, costs nothing. */
function committing(
  consumer: () => GroupConsumer | undefined,
  topic: string,
  assignment: () => Assignment,
): (next: Offsets) => void {
  let committedAtMs = 0
  let underWay = false
  return (nextOffsets) => {
    if (underWay || Date.now() - committedAtMs < COMMIT_EVERY_MS) return
    // The broker takes a member's commits of any partition: those that went to another are left alone.
    const offsets = assignment().partitions.flatMap((partition) => {
      const offset = nextOffsets[partition]
      return offset === undefined ? [] : [{ topic, partition, offset: BigInt(offset), leaderEpoch: -1 }]
    })
    underWay = true
    const end = () => {
      underWay = false
      committedAtMs = Date.now()
    }
    Promise.resolve(consumer()?.commit({ offsets })).then(end, end)
  }
}

/** Looks at the topic before the first read, when it did not hold what was expected, and when none of it is fetched. */
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
 * A topic that ends before what was stored, being another one of the same name or one that lost records, and one whose
 * records were removed before they were stored, are told here, loudly and for as long as it is so: going on would lose
 * events silently.
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
