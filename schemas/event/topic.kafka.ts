import type { Admin, Kafka } from 'kafkajs'
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
const RETRY = { initialRetryTime: 50, maxRetryTime: 1_000, retries: 8 }

export function openTopic(kafka: Kafka, topic: string, partitions: number): Topic {
  const admins = renewing(() => kafka.admin({ retry: RETRY }))
  const ask = <T>(question: (admin: Admin) => Promise<T>) => admins.use(ANSWER_WITHIN_MS, question)
  return {
    connect: async () => {
      await admins.connect()
      await ask((admin) => requireAppendTimes(admin, topic))
    },
    ranges: () => ask((admin) => topicRanges(admin, topic, partitions)),
    ends: () => ask((admin) => topicEnds(admin, topic, partitions)),
    close: () => admins.close(),
  }
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
async function requireAppendTimes(admin: Admin, topic: string): Promise<void> {
  const name = 'message.timestamp.type'
  // 2 is the protocol's number of a topic as a configuration resource; Node finds no such export in kafkajs.
  const { resources } = await admin.describeConfigs({
    includeSynonyms: false,
    resources: [{ type: 2, name: topic, configNames: [name] }],
  })
  const value = resources[0]?.configEntries.find((entry) => entry.configName === name)?.configValue
  if (value !== 'LogAppendTime') throw new Error(`Topic ${topic} has ${name}=${value}: set it to LogAppendTime`)
}
