import { setTimeout as sleep } from 'node:timers/promises'
import { Consumer } from '@platformatic/kafka'
import type { Logger } from 'pino'
import { brokerSettings } from '../../schemas/event/broker-settings.kafka.ts'
import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'
import { createNodeWork, planFetches, type Wanted } from './fetch-plan.ts'

export type Fetching = {
  /** What comes next of these partitions; nothing else is fetched. */
  positions: Map<number, number>
  /** False: it is not what should come next. */
  take(row: LogRow): boolean
  /** Whether there is room for more. */
  hasRoom(): boolean
  /** The topic does not hold what should come next. */
  doubt(): void
  /** Whether a partition could be fetched, be there something or not. */
  told(partition: number, fetched: boolean): void
}

/** A fetch gathers so much, or so long: many small ones cost twice the CPU of a few large ones. */
const FETCH_BYTES = 1024 ** 2
const FETCH_WITHIN_MS = 100
const MOST_BYTES = 10 * 1024 ** 2
const MOST_BYTES_OF_A_PARTITION = 4 * 1024 ** 2
const WAIT_MS = 20
const AFTER_FAILURE_MS = 500
const READ_UNCOMMITTED = 0
/** The protocol's number. */
const OFFSET_OUT_OF_RANGE = 1
const NOTHING = Buffer.alloc(0)

/**
 * Fetches from the leaders of the partitions, each on its own, on connections of its own: a join holds its connection
 * up. A partition that nobody leads, or whose leader does not answer, is asked for again and stops no other.
 */
export function startFetching(brokers: string[], topic: string, fetching: Fetching, logger: Logger) {
  let stopping = false
  const consumer = newConsumer(brokers)
  const nodes = createNodeWork()
  const described = createDescription(consumer, topic, logger)
  let turn = 0

  const failed = async (error: unknown, partitions: readonly number[]): Promise<void> => {
    if (stopping) return
    logger.warn({ err: error, partitions }, 'Kafka gave no records')
    for (const partition of partitions) fetching.told(partition, false)
    described.renew()
    await sleep(AFTER_FAILURE_MS)
  }
  const fetchOnce = async (node: number, topicId: string, wanted: readonly Wanted[]): Promise<void> => {
    try {
      const refused = takeFrom(await fetchFrom(consumer, node, topicId, wanted), fetching)
      if (refused.length > 0) await failed(new Error(`Broker ${node} does not give all that it leads`), refused)
    } catch (error) {
      const partitions = wanted.map(({ partition }) => partition)
      await failed(error, partitions)
    }
  }
  const round = async (): Promise<void> => {
    const { id, leaders } = await described.now()
    const { asks, leaderless } = planFetches(fetching.positions, leaders, nodes, turn++)
    for (const partition of leaderless) fetching.told(partition, false)
    for (const [node, wanted] of asks) {
      nodes.start(node, () => fetchOnce(node, id, wanted))
    }
    // What is sought meanwhile may be led by a node that is not awaited.
    await Promise.race([nodes.any(), sleep(FETCH_WITHIN_MS)])
  }

  const run = async (): Promise<void> => {
    while (!stopping) {
      if (fetching.positions.size === 0 || !fetching.hasRoom()) await sleep(WAIT_MS)
      else await round().catch((error: unknown) => failed(error, [...fetching.positions.keys()]))
    }
    await nodes.all()
  }
  const running = run()
  return {
    stop: async () => {
      stopping = true
      await consumer.close(true)
      await running
    },
  }
}

type Description = { id: string; leaders: Map<number, number> }

/**
 * Who leads which partition. The client refuses a description as a whole when any partition is without a leader, and
 * keeps what the broker said in its error: asked anew now and then, until each has one.
 */
function createDescription(consumer: Fetcher, topic: string, logger: Logger) {
  let partial: { description: Description; untilMs: number } | undefined
  return {
    now: async (): Promise<Description> => {
      if (partial && performance.now() < partial.untilMs) return partial.description
      partial = undefined
      try {
        const found = (await consumer.metadata({ topics: [topic] })).topics.get(topic)
        if (!found) throw new Error(`Kafka does not know the topic ${topic}`)
        const leads = found.partitions.map(({ leader }, partition) => [partition, leader] as const)
        return { id: found.id, leaders: new Map(leads.filter(([, leader]) => leader >= 0)) }
      } catch (error) {
        const description = describedBy(error, topic)
        if (!description) throw error
        logger.warn({ err: error }, 'Kafka has partitions that nobody leads')
        partial = { description, untilMs: performance.now() + AFTER_FAILURE_MS }
        return description
      }
    },
    renew: () => {
      partial = undefined
      consumer.clearMetadata()
    },
  }
}

/** What a refused description says of the partitions that somebody leads. */
export function describedBy(error: unknown, topic: string): Description | undefined {
  const response = responseOf<Described>(error)
  const found = response?.topics?.find(({ name, errorCode }) => name === topic && errorCode === 0)
  if (!found) return undefined
  const led = found.partitions.filter(({ leaderId }) => leaderId >= 0)
  return { id: found.topicId, leaders: new Map(led.map(({ partitionIndex, leaderId }) => [partitionIndex, leaderId])) }
}
type Described = {
  topics?: {
    name: string
    topicId: string
    errorCode: number
    partitions: { errorCode: number; partitionIndex: number; leaderId: number }[]
  }[]
}

/** The whole answer of a broker, of which the client says only that something in it is an error. */
function responseOf<T>(error: unknown): T | undefined {
  return (error as { response?: T } | undefined)?.response
}

type Fetcher = ReturnType<typeof newConsumer>
type Fetched = Awaited<ReturnType<Fetcher['fetch']>>

/** It joins no group: it only fetches. */
function newConsumer(brokers: string[]): Consumer<Buffer, Buffer, Buffer, Buffer> {
  return new Consumer({ ...brokerSettings(brokers), groupId: 'tallyline-fetch', retries: 0 })
}

/** Also when the broker could not give some of them: each says so itself. */
async function fetchFrom(
  consumer: Fetcher,
  node: number,
  topicId: string,
  wanted: readonly Wanted[],
): Promise<Fetched> {
  const partitions = wanted.map(({ partition, offset }) => ({
    partition,
    currentLeaderEpoch: -1,
    fetchOffset: BigInt(offset),
    lastFetchedEpoch: -1,
    partitionMaxBytes: MOST_BYTES_OF_A_PARTITION,
  }))
  try {
    return await consumer.fetch({
      node,
      minBytes: FETCH_BYTES,
      maxWaitTime: FETCH_WITHIN_MS,
      maxBytes: MOST_BYTES,
      isolationLevel: READ_UNCOMMITTED,
      topics: [{ topicId, partitions }],
    })
  } catch (error) {
    const response = responseOf<Fetched>(error)
    if (!response?.responses?.length) throw error
    return response
  }
}

/** The partitions that the broker could not give; all others are taken. */
function takeFrom({ responses }: Fetched, fetching: Fetching): number[] {
  const refused: number[] = []
  for (const { partitionIndex, errorCode, records = [] } of responses.flatMap(({ partitions }) => partitions)) {
    if (errorCode === OFFSET_OUT_OF_RANGE) fetching.doubt()
    else if (errorCode !== 0) refused.push(partitionIndex)
    else {
      fetching.told(partitionIndex, true)
      for (const batch of records) takeBatch(partitionIndex, batch, fetching)
    }
  }
  return refused
}

type Batch = NonNullable<Fetched['responses'][number]['partitions'][number]['records']>[number]

/** A position that was moved meanwhile does not fit what came: it is fetched again. */
function takeBatch(partition: number, batch: Batch, { positions, take, doubt }: Fetching): void {
  for (const { offsetDelta, value } of batch.records) {
    const offset = Number(batch.firstOffset) + offsetDelta
    const next = positions.get(partition)
    // A batch begins before what was asked for of it; where there is doubt nothing is asked for any more.
    if (next === undefined || offset < next) continue
    const row = { knownAtMs: Number(batch.maxTimestamp), partition, offset, batch: value ?? NOTHING }
    if (offset === next && take(row)) positions.set(partition, offset + 1)
    else doubt()
  }
}
