import { setTimeout as sleep } from 'node:timers/promises'
import { Base, Consumer, ListOffsetTimestamps } from '@platformatic/kafka'
import { brokerSettings } from '../../../schemas/event/broker-settings.kafka.ts'
import { bearLeaderless } from './leaderless.kafka.ts'

export type InputTopic = {
  id: string
  partitions: readonly { leader: number }[]
  brokers: ReadonlyMap<number, { host: string; port: number }>
}

/** Membership in the group of the processes that read one topic. */
export type Membership = {
  /** Throws when the membership is lost. */
  check(): void
  /** Where reading goes on, when other partitions than before are ours; else undefined. */
  moved(): Promise<Map<number, number> | undefined>
  owns(partition: number): boolean
  topic(): Promise<InputTopic>
  /** Leaders may have moved: they are asked for again. */
  forgetLeaders(): void
  /** The first offset that the partition has, and the one after its last. */
  range(partition: number): Promise<{ first: number; end: number }>
  /** Never before what it says is durable. One that fails, usual in a rebalance, costs copies and nothing else. */
  commit(partition: number, next: number): Promise<void>
  leave(): Promise<void>
}

export type MembershipOptions = { brokers: string[]; topic: string; sessionTimeoutMs: number }

type GroupConsumer = Consumer<Buffer, Buffer, Buffer, Buffer>

const REBALANCE_WITHIN_MS = 60_000
const LEAVE_WITHIN_MS = 3_000

/**
 * Joins. The group's name has the topic's id: one made anew under the same name is read from its beginning, and never
 * from where the other one ended.
 */
export async function joinInput({ brokers, topic, sessionTimeoutMs }: MembershipOptions): Promise<Membership> {
  const { id, partitions } = await look(brokers, topic)
  const consumer: GroupConsumer = new Consumer({
    ...brokerSettings(brokers),
    // To join takes as long as the slowest member.
    requestTimeout: 2 * REBALANCE_WITHIN_MS,
    groupId: `tallyline-input-${topic}-${id}`,
    sessionTimeout: sessionTimeoutMs,
    rebalanceTimeout: REBALANCE_WITHIN_MS,
    heartbeatInterval: Math.floor(sessionTimeoutMs / 6),
    retries: 0,
  })
  bearLeaderless(consumer)
  let failure: Error | undefined
  let assigned: readonly number[] = []
  let isNew = false
  let aliveUntilMs = Date.now() + REBALANCE_WITHIN_MS + sessionTimeoutMs
  const alive = (forMs: number) => {
    aliveUntilMs = Date.now() + forMs
  }
  const fail = (error: Error | null) => {
    failure ??= error ?? undefined
  }
  consumer.on('error', fail)
  consumer.on('consumer:group:rebalance', () => alive(REBALANCE_WITHIN_MS + sessionTimeoutMs))
  consumer.on('consumer:heartbeat:end', () => alive(sessionTimeoutMs))
  consumer.on('consumer:group:join', ({ assignments }) => {
    alive(sessionTimeoutMs)
    assigned = assignments?.find((one) => one.topic === topic)?.partitions ?? []
    isNew = true
  })
  consumer.topics.trackAll(topic)
  consumer.joinGroup({}, fail)
  return {
    check: () => {
      if (failure) throw failure
      if (Date.now() > aliveUntilMs) throw new Error('The group coordinator has not answered for a session')
    },
    moved: async () => {
      if (!isNew) return undefined
      isNew = false
      return startsOf(consumer, topic, assigned)
    },
    owns: (partition) => assigned.includes(partition),
    topic: async () => {
      const now = await topicOf(consumer, topic)
      // Members share the partitions that were there when they joined.
      if (now.id !== id || now.partitions.length !== partitions.length) throw new Error(`${topic} is not what it was`)
      return now
    },
    forgetLeaders: () => consumer.clearMetadata(),
    range: async (partition) => {
      const [first, end] = await Promise.all(
        [ListOffsetTimestamps.EARLIEST, ListOffsetTimestamps.LATEST].map((at) =>
          offsetsOf(consumer, topic, [partition], at),
        ),
      )
      return { first: Number(first?.[partition]), end: Number(end?.[partition]) }
    },
    commit: async (partition, next) => {
      const offsets = [{ topic, partition, offset: BigInt(next), leaderEpoch: -1 }]
      await consumer.commit({ offsets }).catch(() => undefined)
    },
    leave: () => leaveGroup(consumer, LEAVE_WITHIN_MS),
  }
}

/** Connections end whether it could leave or not: the client keeps them all where leaving failed. */
export async function leaveGroup(consumer: GroupConsumer, withinMs: number): Promise<void> {
  const left = new Promise<boolean>((done) => consumer.close(true, (error) => done(!error)))
  if (await Promise.race([left, sleep(withinMs, false, { ref: false })])) return
  await Base.prototype.close.call(consumer).catch(() => undefined)
}

/** The topic as it is before anybody joins. */
async function look(brokers: string[], topic: string): Promise<InputTopic> {
  const consumer: GroupConsumer = new Consumer({ ...brokerSettings(brokers), groupId: 'tallyline-look', retries: 1 })
  bearLeaderless(consumer)
  try {
    return await topicOf(consumer, topic)
  } finally {
    await new Promise<void>((done) => consumer.close(true, () => done()))
  }
}

async function topicOf(consumer: GroupConsumer, topic: string): Promise<InputTopic> {
  const { topics, brokers } = await consumer.metadata({ topics: [topic] })
  const found = topics.get(topic)
  if (!found) throw new Error(`Kafka does not know the topic ${topic}`)
  return { id: found.id, partitions: found.partitions, brokers }
}

/** By partition; only of those that were asked for. */
async function offsetsOf(consumer: GroupConsumer, topic: string, partitions: number[], timestamp: bigint) {
  return (await consumer.listOffsets({ topics: [topic], partitions: { [topic]: partitions }, timestamp })).get(topic)
}

/** What was committed, or the topic's beginning where nothing was. */
async function startsOf(consumer: GroupConsumer, topic: string, own: readonly number[]): Promise<Map<number, number>> {
  if (own.length === 0) return new Map()
  const partitions = [...own]
  const committed = (await consumer.listCommittedOffsets({ topics: [{ topic, partitions }] })).get(topic)
  // Of the others nothing is asked: one may have no leader that answers.
  const fresh = partitions.filter((partition) => (committed?.[partition] ?? -1n) < 0n)
  const firsts = fresh.length === 0 ? undefined : await offsetsOf(consumer, topic, fresh, ListOffsetTimestamps.EARLIEST)
  return new Map(
    partitions.map((partition) => {
      const offset = committed?.[partition] ?? -1n
      const start = offset >= 0n ? offset : firsts?.[partition]
      if (start === undefined)
        throw new Error(`Kafka does not tell the beginning of partition ${partition} of ${topic}`)
      return [partition, Number(start)]
    }),
  )
}
