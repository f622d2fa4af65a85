import { setTimeout as sleep } from 'node:timers/promises'
import { Consumer } from '@platformatic/kafka'
import type { Logger } from 'pino'
import { brokerSettings } from '../../schemas/event/broker-settings.kafka.ts'

export type GroupSettings = { brokers: string[]; topic: string; groupId: string; sessionTimeoutMs: number }
export type GroupConsumer = Consumer<Buffer, Buffer, Buffer, Buffer>

/** Membership in a consumer group, kept up until it is stopped. */
export type GroupMember = {
  /** The consumer of the present membership, to commit with. */
  consumer(): GroupConsumer | undefined
  stop(): Promise<void>
}

/** What other members may take to join again. */
const REBALANCE_WITHIN_MS = 60_000
/** A broker that has just begun refuses for moments: the first tries follow each other quickly. */
const AGAIN_FIRST_MS = 100
const AGAIN_MAX_MS = 2_000
const LEAVE_WITHIN_MS = 3_000
const LOOK_EVERY_MS = 200

/**
 * Joins, and joins again whatever ended the membership: what stops it (another protocol in the group, a missing
 * permission) may be put right. Who has not heard from the coordinator for a session is no member any more.
 */
export function keepMembership(
  settings: GroupSettings,
  logger: Logger,
  assign: (partitions: readonly number[]) => void,
): GroupMember {
  let current: GroupConsumer | undefined
  let stopping = false
  let againMs = AGAIN_FIRST_MS
  const joined = (partitions: readonly number[]) => {
    againMs = AGAIN_FIRST_MS
    assign(partitions)
  }

  const keep = async (): Promise<void> => {
    while (!stopping) {
      const consumer = openConsumer(settings)
      current = consumer
      try {
        // One that was left may still be answered.
        const own = (partitions: readonly number[]) => current === consumer && joined(partitions)
        await whileMember(consumer, settings, own, () => stopping)
      } catch (error) {
        logger.warn({ err: error }, 'the Kafka consumer joins its group again')
      }
      current = undefined
      assign([])
      await Promise.race([left(consumer), sleep(LEAVE_WITHIN_MS)])
      if (!stopping) await sleep(againMs)
      againMs = Math.min(againMs * 2, AGAIN_MAX_MS)
    }
  }
  const kept = keep()
  return {
    consumer: () => current,
    stop: async () => {
      stopping = true
      await kept
    },
  }
}

/** Whether it could leave or not. */
function left(consumer: GroupConsumer): Promise<void> {
  return new Promise((done) => consumer.close(true, () => done()))
}

function openConsumer({ brokers, groupId, sessionTimeoutMs }: GroupSettings): GroupConsumer {
  return new Consumer({
    ...brokerSettings(brokers),
    // To join takes as long as the slowest member.
    requestTimeout: 2 * REBALANCE_WITHIN_MS,
    groupId,
    sessionTimeout: sessionTimeoutMs,
    rebalanceTimeout: REBALANCE_WITHIN_MS,
    heartbeatInterval: Math.floor(sessionTimeoutMs / 6),
    retries: 0,
  })
}

/** Resolves when it is stopped; rejects when the membership is lost. */
async function whileMember(
  consumer: GroupConsumer,
  { topic, sessionTimeoutMs }: GroupSettings,
  assign: (partitions: readonly number[]) => unknown,
  stopping: () => boolean,
): Promise<void> {
  let failure: Error | undefined
  let aliveUntilMs = Date.now() + REBALANCE_WITHIN_MS + sessionTimeoutMs
  const alive = (forMs: number) => {
    aliveUntilMs = Date.now() + forMs
  }
  consumer.on('error', (error) => {
    failure = error
  })
  consumer.on('consumer:group:rebalance', () => alive(REBALANCE_WITHIN_MS + sessionTimeoutMs))
  consumer.on('consumer:heartbeat:end', () => alive(sessionTimeoutMs))
  consumer.on('consumer:group:join', ({ assignments }) => {
    alive(sessionTimeoutMs)
    assign(assignments?.find((one) => one.topic === topic)?.partitions ?? [])
  })
  consumer.topics.trackAll(topic)
  consumer.joinGroup({}, (error) => {
    if (error) failure = error
  })
  while (!stopping()) {
    if (failure) throw failure
    if (Date.now() > aliveUntilMs) throw new Error('The group coordinator has not answered for a session')
    await sleep(LOOK_EVERY_MS)
  }
}
