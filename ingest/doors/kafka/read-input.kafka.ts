import { setTimeout as sleep } from 'node:timers/promises'
import type { Logger } from 'pino'
import type { FetchedPartition } from './fetch.kafka.ts'
import { openFetcher } from './fetch.kafka.ts'
import type { InputPlace, TenantInput } from './input.ts'
import { joinInput, type Membership } from './membership.kafka.ts'
import { type Portion, portionsOf } from './portions.ts'

export type InputSource = { brokers: string[]; sessionTimeoutMs: number }

export type InputSink = {
  /** Resolves when everything of the portion is durable or listed; rejects when the portion must come again. */
  take(place: InputPlace, portion: Portion): Promise<void>
  logger: Logger
}

export type InputReader = { stop(): Promise<void> }

const AGAIN_FIRST_MS = 200
const AGAIN_MAX_MS = 10_000
const IDLE_MS = 200

type Life = {
  input: TenantInput
  sink: InputSink
  member: Membership
  fetcher: ReturnType<typeof openFetcher>
  /** What comes next of each partition that is ours. */
  positions: Map<number, number>
  /** Partitions that wait, after so many failures, before they are tried again. */
  waiting: Map<number, { failures: number; untilMs: number }>
  stopping: () => boolean
}

/** Reads a topic until it is stopped, whatever ends a membership or a connection in between. */
export function readInput(source: InputSource, input: TenantInput, sink: InputSink): InputReader {
  let stopping = false
  const stopped = new AbortController()
  const keep = async (): Promise<void> => {
    for (let againMs = AGAIN_FIRST_MS; !stopping; againMs = Math.min(againMs * 2, AGAIN_MAX_MS)) {
      try {
        await live(
          source,
          input,
          sink,
          () => stopping,
          () => {
            againMs = AGAIN_FIRST_MS
          },
        )
      } catch (error) {
        const members = { service: 'ingest', event: 'kafka_input_waits', topic: input.topic, err: error }
        sink.logger.warn(members, 'a Kafka input cannot be read; it is tried again')
      }
      if (!stopping) await sleep(againMs, undefined, { signal: stopped.signal }).catch(() => undefined)
    }
  }
  const kept = keep()
  return {
    stop: async () => {
      stopping = true
      stopped.abort()
      await kept
    },
  }
}

/** One membership: from joining the group until it is lost, or the reader is stopped. */
async function live(
  { brokers, sessionTimeoutMs }: InputSource,
  input: TenantInput,
  sink: InputSink,
  stopping: () => boolean,
  works: () => void,
): Promise<void> {
  const fetcher = openFetcher(brokers)
  let member: Membership | undefined
  try {
    member = await joinInput({ brokers, sessionTimeoutMs, topic: input.topic })
    const life: Life = { input, sink, member, fetcher, positions: new Map(), waiting: new Map(), stopping }
    while (!stopping()) {
      member.check()
      const moved = await member.moved()
      if (moved) {
        life.positions = moved
        life.waiting.clear()
      }
      if (!(await step(life))) await sleep(IDLE_MS)
      works()
    }
  } finally {
    await Promise.allSettled([member?.leave(), fetcher.close()])
  }
}

/** False: nothing is ours to fetch at the moment. */
async function step(life: Life): Promise<boolean> {
  const nowMs = Date.now()
  const ready = [...life.positions].filter(([partition]) => (life.waiting.get(partition)?.untilMs ?? 0) <= nowMs)
  if (ready.length === 0) return false
  const topic = await life.member.topic()
  const leaders = new Map<number, { partition: number; offset: number }[]>()
  for (const [partition, offset] of ready) {
    const leader = topic.partitions[partition]?.leader ?? -1
    leaders.set(leader, [...(leaders.get(leader) ?? []), { partition, offset }])
  }
  const fetched = await Promise.all(
    [...leaders].map(([node, positions]) => {
      const leader = topic.brokers.get(node)
      if (!leader) throw new Error(`A partition of ${life.input.topic} has no leader`)
      return life.fetcher.fetch(leader, { topicId: topic.id, positions })
    }),
  )
  for (const one of fetched.flat()) await takeFetched(life, topic.id, one)
  return true
}

/** What was not taken is fetched again after a while; the partition's later records wait behind it. */
async function takeFetched(life: Life, topicId: string, fetched: FetchedPartition): Promise<void> {
  const { partition } = fetched
  const place = { topicId, partition }
  const from = life.positions.get(partition) ?? 0
  try {
    const portions = fetched.outOfRange ? gone(life.member, partition, from) : portionsOf(fetched, from)
    for await (const portion of portions) {
      if (life.stopping() || !life.member.owns(partition)) return
      await life.sink.take(place, portion)
      life.positions.set(partition, portion.next)
      await life.member.commit(partition, portion.next)
    }
    life.waiting.delete(partition)
  } catch (error) {
    const failures = (life.waiting.get(partition)?.failures ?? 0) + 1
    const forMs = Math.min(AGAIN_FIRST_MS * 2 ** (failures - 1), AGAIN_MAX_MS)
    life.waiting.set(partition, { failures, untilMs: Date.now() + forMs })
    const members = { service: 'ingest', event: 'kafka_input_waits', topic: life.input.topic, partition, err: error }
    life.sink.logger.warn(members, 'records of a Kafka input were not taken; they are tried again')
  }
}

/** Records that Kafka removed before they were read are listed as such; reading goes on behind them. */
async function* gone(member: Membership, partition: number, from: number): AsyncGenerator<Portion> {
  const { first, end } = await member.range(partition)
  if (!(from < first)) throw new Error(`Before ${from} all is read, but the partition holds ${first} to ${end} only`)
  const message = `Kafka removed the records from ${from} to ${first - 1} before they were read`
  const fault = { code: 'records_gone', path: '', message, offset: from, lastOffset: first - 1 }
  yield { first: from, next: first, records: [], faults: [{ ...fault, value: Buffer.alloc(0) }] }
}
