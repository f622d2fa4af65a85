import type { Admin } from 'kafkajs'

/** The next offset of each partition of the log's topic. */
export async function topicEnds(admin: Admin, topic: string, partitions: number): Promise<number[]> {
  const ends = new Map((await admin.fetchTopicOffsets(topic)).map((one) => [one.partition, Number(one.high)]))
  return Array.from({ length: partitions }, (_, partition) => {
    const end = ends.get(partition)
    if (end === undefined) throw new Error(`Kafka does not tell the end of partition ${partition} of ${topic}`)
    return end
  })
}
