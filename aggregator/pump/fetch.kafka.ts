import { setTimeout as sleep } from 'node:timers/promises'
import { Consumer } from '@platformatic/kafka'
import type { Logger } from 'pino'
import { brokerSettings } from '../../schemas/event/broker-settings.kafka.ts'
import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'

export type Fetching = {
  /** What comes next of these partitions; nothing else is fetched. */
  positions: Map<number, number>
  /** False: it is not what should come next. */
  take(row: LogRow): boolean
  /** Whether there is room for more. */
  hasRoom(): boolean
  /** What came is not what should come next, or nothing came. */
  doubt(): void
}

/** A fetch gathers so much, or so long: many small ones cost twice the CPU of a few large ones. */
const FETCH_BYTES = 1024 ** 2
const FETCH_WITHIN_MS = 100
const MOST_BYTES = 10 * 1024 ** 2
const MOST_BYTES_OF_A_PARTITION = 4 * 1024 ** 2
const WAIT_MS = 20
const AFTER_FAILURE_MS = 500
const READ_UNCOMMITTED = 0
const NOTHING = Buffer.alloc(0)

/** Fetches in one loop from the leaders of the partitions, on connections of its own: a join holds its connection up. */
export function startFetching(brokers: string[], topic: string, fetching: Fetching, logger: Logger) {
  let stopping = false
  const consumer = newConsumer(brokers)
  let steps = 0

  const step = async (): Promise<void> => {
    const { topics } = await consumer.metadata({ topics: [topic] })
    const found = topics.get(topic)
    if (!found) throw new Error(`Kafka does not know the topic ${topic}`)
    const leaders = new Map<number, { partition: number; offset: number }[]>()
    // The broker fills its answer in the order of the question: each partition comes first in its turn.
    const positions = [...fetching.positions]
    const first = steps++ % Math.max(positions.length, 1)
    for (const [partition, offset] of [...positions.slice(first), ...positions.slice(0, first)]) {
      const leader = found.partitions[partition]?.leader ?? -1
      if (leader < 0) throw new Error(`Partition ${partition} of ${topic} has no leader`)
      leaders.set(leader, [...(leaders.get(leader) ?? []), { partition, offset }])
    }
    const fetches = [...leaders].map(([node, wanted]) => fetchFrom(consumer, node, found.id, wanted))
    for (const response of await Promise.all(fetches)) takeFrom(response, fetching)
  }

  const run = async (): Promise<void> => {
    while (!stopping) {
      if (fetching.positions.size === 0 || !fetching.hasRoom()) await sleep(WAIT_MS)
      else
        await step().catch(async (error: unknown) => {
          if (stopping) return
          logger.warn({ err: error }, 'Kafka gave no records')
          consumer.clearMetadata()
          fetching.doubt()
          await sleep(AFTER_FAILURE_MS)
        })
    }
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

type Fetcher = ReturnType<typeof newConsumer>
type Fetched = Awaited<ReturnType<typeof fetchFrom>>

/** It joins no group: it only fetches. */
function newConsumer(brokers: string[]): Consumer<Buffer, Buffer, Buffer, Buffer> {
  return new Consumer({ ...brokerSettings(brokers), groupId: 'tallyline-fetch', retries: 0 })
}

function fetchFrom(consumer: Fetcher, node: number, topicId: string, wanted: { partition: number; offset: number }[]) {
  const partitions = wanted.map(({ partition, offset }) => ({
    partition,
    currentLeaderEpoch: -1,
    fetchOffset: BigInt(offset),
    lastFetchedEpoch: -1,
    partitionMaxBytes: MOST_BYTES_OF_A_PARTITION,
  }))
  return consumer.fetch({
    node,
    minBytes: FETCH_BYTES,
    maxWaitTime: FETCH_WITHIN_MS,
    maxBytes: MOST_BYTES,
    isolationLevel: READ_UNCOMMITTED,
    topics: [{ topicId, partitions }],
  })
}

/** A position that was moved meanwhile does not fit what came: it is fetched again. */
function takeFrom({ responses }: Fetched, { positions, take, doubt }: Fetching): void {
  for (const { partitionIndex, records = [] } of responses.flatMap(({ partitions }) => partitions)) {
    for (const batch of records) {
      for (const { offsetDelta, value } of batch.records) {
        const offset = Number(batch.firstOffset) + offsetDelta
        const next = positions.get(partitionIndex)
        // A batch begins before what was asked for of it.
        if (next === undefined || offset < next) continue
        const row = {
          knownAtMs: Number(batch.maxTimestamp),
          partition: partitionIndex,
          offset,
          batch: value ?? NOTHING,
        }
        if (offset !== next || !take(row)) {
          doubt()
          return
        }
        positions.set(partitionIndex, offset + 1)
      }
    }
  }
}
