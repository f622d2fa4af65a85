import type { Logger } from 'pino'
import type { FetchedPartition, Fetcher } from './fetch.kafka.ts'
import type { InputPlace, TenantInput } from './input.ts'
import type { InputTopic, Membership } from './membership.kafka.ts'
import { type Portion, portionsOf, splitPortion } from './portions.ts'

export type InputSink = {
  /** Resolves to the offset before which everything of the portion is durable or listed; rejects when nothing is. */
  take(place: InputPlace, portion: Portion): Promise<number>
  logger: Logger
}

/** What of a partition failed, how often in a row, and until when it waits. */
type Wait = { failed: 'fetch' | 'take'; failures: number; untilMs: number }

export type Life = {
  input: TenantInput
  sink: InputSink
  member: Membership
  fetcher: Pick<Fetcher, 'fetch'>
  /** What comes next of each partition that is ours, in the order in which they are asked for. */
  positions: Map<number, number>
  /** Partitions that wait before they are tried again, those after them meanwhile go on. */
  waiting: Map<number, Wait>
  stopping: () => boolean
}
type Position = { partition: number; offset: number }

const AGAIN_FIRST_MS = 200
const AGAIN_MAX_MS = 10_000

/** False: nothing was fetched at the moment. Throws when nothing can be fetched of any partition that is ours. */
export async function fetchAndTake(life: Life): Promise<boolean> {
  const nowMs = Date.now()
  const ready = [...life.positions].filter(([partition]) => (life.waiting.get(partition)?.untilMs ?? 0) <= nowMs)
  if (ready.length === 0) return false
  const topic = await life.member.topic()
  const leaders = new Map<number, Position[]>()
  for (const [partition, offset] of ready) {
    const leader = topic.partitions[partition]?.leader ?? -1
    leaders.set(leader, [...(leaders.get(leader) ?? []), { partition, offset }])
  }
  const answers = await Promise.all([...leaders].map(([node, positions]) => fetchFrom(life, topic, node, positions)))
  const fetched = answers.flat()
  if (fetched.length === 0) refuseIfNothing(life)
  for (const one of fetched) await takeFetched(life, topic.id, one)
  return fetched.length > 0
}

/** A new membership is only worth the others' rebalance when this one is good for nothing. */
function refuseIfNothing({ positions, waiting, input }: Life): void {
  const all = [...positions.keys()].every((partition) => waiting.get(partition)?.failed === 'fetch')
  if (all) throw new Error(`Nothing can be fetched of any partition of ${input.topic} that is ours`)
}

/** What one broker gives. What it does not, waits: one partition without a leader holds up no other. */
async function fetchFrom(
  life: Life,
  topic: InputTopic,
  node: number,
  positions: readonly Position[],
): Promise<FetchedPartition[]> {
  const leader = topic.brokers.get(node)
  const wait = (partition: number, error: unknown) => {
    life.member.forgetLeaders()
    letWait(life, partition, 'fetch', error)
  }
  try {
    if (!leader) throw new Error('The partition has no leader')
    const answer = await life.fetcher.fetch(leader, { topicId: topic.id, positions })
    const bad = answer.filter(({ errorCode }) => errorCode !== 0)
    for (const { partition, errorCode } of bad)
      wait(partition, new Error(`Kafka gives nothing: its error ${errorCode}`))
    return answer.filter(({ errorCode }) => errorCode === 0)
  } catch (error) {
    for (const { partition } of positions) wait(partition, error)
    return []
  }
}

/** What was not taken is fetched again after a while; the partition's later records wait behind it. */
async function takeFetched(life: Life, topicId: string, fetched: FetchedPartition): Promise<void> {
  const { partition } = fetched
  const from = life.positions.get(partition) ?? 0
  try {
    const portions = fetched.outOfRange ? gone(life.member, partition, from) : portionsOf(fetched, from)
    for await (const portion of portions) {
      if (!(await takeAll(life, { topicId, partition }, portion))) return
    }
    life.waiting.delete(partition)
  } catch (error) {
    letWait(life, partition, 'take', error)
  }
}

/** False: it is not ours to take any more. Commits each part when it is taken, so that what follows may fail. */
async function takeAll({ stopping, member, sink, positions }: Life, place: InputPlace, whole: Portion) {
  const { partition } = place
  for (let portion = whole; ; ) {
    if (stopping() || !member.owns(partition)) return false
    const next = await sink.take(place, portion)
    // Behind the others: a broker fills its answer in the order in which it is asked, and the last may get nothing.
    positions.delete(partition)
    positions.set(partition, next)
    // While it was taken the partition may have become another's, who may be further.
    if (member.owns(partition)) await member.commit(partition, next)
    if (next >= portion.next) return true
    portion = splitPortion(portion, next).rest
  }
}

function letWait({ waiting, sink, input }: Life, partition: number, failed: Wait['failed'], error: unknown): void {
  const failures = (waiting.get(partition)?.failures ?? 0) + 1
  const forMs = Math.min(AGAIN_FIRST_MS * 2 ** (failures - 1), AGAIN_MAX_MS)
  waiting.set(partition, { failed, failures, untilMs: Date.now() + forMs })
  const members = { service: 'ingest', event: 'kafka_input_waits', topic: input.topic, partition, err: error }
  sink.logger.warn(members, `a partition of a Kafka input waits: ${failed} failed, and is tried again`)
}

/** Records that Kafka removed before they were read are listed as such; reading goes on behind them. */
async function* gone(member: Membership, partition: number, from: number): AsyncGenerator<Portion> {
  const { first, end } = await member.range(partition)
  if (!(from < first)) throw new Error(`Before ${from} all is read, but the partition holds ${first} to ${end} only`)
  const message = `Kafka removed the records from ${from} to ${first - 1} before they were read`
  const fault = { code: 'records_gone', path: '', message, offset: from, lastOffset: first - 1 }
  yield { first: from, next: first, records: [], faults: [{ ...fault, excerpt: Buffer.alloc(0), valueBytes: 0 }] }
}
