import { Admin as Asking, ConfigResourceTypes, ListOffsetTimestamps } from '@platformatic/kafka'
import type { Admin } from 'kafkajs'
import { brokerSettings } from './broker-settings.kafka.ts'
import { renewing } from './renewing.kafka.ts'

/** What a partition holds: offsets from `first` on, before `end`. */
export type TopicRange = { first: number; end: number }

/** The log's topic as its writer and its reader look at it. */
export type Topic = {
  /** Rejects when the topic's records do not carry the time at which the broker appended them. */
  connect(): Promise<void>
  ranges(): Promise<TopicRange[]>
  /** The next offset of each partition. */
  ends(): Promise<number[]>
  close(): Promise<void>
}

/** Questions to the broker are answered in milliseconds, or not in time for whoever asks. */
const ANSWER_WITHIN_MS = 5_000

export function openTopic(brokers: string[], topic: string, partitions: number): Topic {
  const admins = renewing(() => openAdmin(brokers, topic))
  const ask = <T>(question: (admin: Asking) => Promise<T>) =>
    admins.use(ANSWER_WITHIN_MS, ({ admin }) => question(admin))
  return {
    connect: async () => {
      await admins.connect()
      await ask((admin) => requireAppendTimes(admin, topic))
    },
    ranges: () => ask((admin) => rangesOf(admin, topic, partitions)),
    ends: () => ask((admin) => offsetsOf(admin, topic, partitions, ListOffsetTimestamps.LATEST)),
    close: () => admins.close(),
  }
}

function openAdmin(brokers: string[], topic: string) {
  const admin = new Asking(brokerSettings(brokers))
  return { admin, connect: () => admin.metadata({ topics: [topic] }), disconnect: () => admin.close() }
}

async function rangesOf(admin: Asking, topic: string, partitions: number): Promise<TopicRange[]> {
  const firsts = await offsetsOf(admin, topic, partitions, ListOffsetTimestamps.EARLIEST)
  const ends = await offsetsOf(admin, topic, partitions, ListOffsetTimestamps.LATEST)
  return ends.map((end, partition) => ({ first: firsts[partition] ?? 0, end }))
}

async function offsetsOf(admin: Asking, topic: string, partitions: number, timestamp: bigint): Promise<number[]> {
  const asked = Array.from({ length: partitions }, (_, partitionIndex) => ({ partitionIndex, timestamp }))
  const [answer] = await admin.listOffsets({ topics: [{ name: topic, partitions: asked }] })
  const offsets = new Map(answer?.partitions.map((one) => [one.partitionIndex, Number(one.offset)]))
  return asked.map(({ partitionIndex }) => {
    const offset = offsets.get(partitionIndex)
    if (offset === undefined) throw new Error(`Kafka does not tell the end of partition ${partitionIndex} of ${topic}`)
    return offset
  })
}

/** The next offset of each partition of the log's topic. */
export async function topicEnds(admin: Admin, topic: string, partitions: number): Promise<number[]> {
  return (await topicRanges(admin, topic, partitions)).map(({ end }) => end)
}

async function topicRanges(admin: Admin, topic: string, partitions: number): Promise<TopicRange[]> {
  const ranges = new Map(
    (await admin.fetchTopicOffsets(topic)).map((one) => [
      one.partition,
      { first: Number(one.low), end: Number(one.high) },
    ]),
  )
  return Array.from({ length: partitions }, (_, partition) => {
    const range = ranges.get(partition)
    if (range === undefined) throw new Error(`Kafka does not tell the end of partition ${partition} of ${topic}`)
    return range
  })
}

/** A record's time is when the broker appended it: the order of first copies, and seals, rest on that. */
async function requireAppendTimes(admin: Asking, topic: string): Promise<void> {
  const name = 'message.timestamp.type'
  const resources = [{ resourceType: ConfigResourceTypes.TOPIC, resourceName: topic, configurationKeys: [name] }]
  const [described] = await admin.describeConfigs({ resources, includeSynonyms: false, includeDocumentation: false })
  const value = described?.configs.find((entry) => entry.name === name)?.value
  if (value !== 'LogAppendTime') throw new Error(`Topic ${topic} has ${name}=${value}: set it to LogAppendTime`)
}
