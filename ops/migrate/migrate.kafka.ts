import { randomBytes } from 'node:crypto'
import type { Kafka } from 'kafkajs'
import pg from 'pg'

export type EventLogTopic = { topic: string; partitions: number }

/** Keeps two migrators of one database apart. */
const TOPIC_LOCK = 7_215_503
const DAY_MS = 86_400_000
/** The log is kept this long behind the store (design §3 asks for 7 days at least). */
const RETENTION_MS = 14 * DAY_MS

/**
 * Creates the topic of the event log, once: its name is drawn, so that a topic is never mistaken for an earlier one of
 * the same name, and noted in Postgres. The row is written first: after a crash the next run creates the topic it names.
 */
export async function migrateKafka(kafka: Kafka, ownerUrl: string, partitions: number): Promise<EventLogTopic> {
  const client = new pg.Client({ connectionString: ownerUrl })
  await client.connect()
  const admin = kafka.admin()
  try {
    await client.query('SELECT pg_advisory_lock($1)', [TOPIC_LOCK])
    const log = (await activeLog(client)) ?? (await insertLog(client, partitions))
    await admin.connect()
    const { brokers } = await admin.describeCluster()
    const replicas = Math.min(3, brokers.length)
    // False when it exists already: then it is the one we created.
    await admin.createTopics({
      waitForLeaders: true,
      topics: [
        {
          topic: log.topic,
          numPartitions: log.partitions,
          replicationFactor: replicas,
          configEntries: [
            { name: 'message.timestamp.type', value: 'LogAppendTime' },
            { name: 'cleanup.policy', value: 'delete' },
            { name: 'retention.ms', value: String(RETENTION_MS) },
            { name: 'min.insync.replicas', value: String(Math.min(2, replicas)) },
            { name: 'unclean.leader.election.enable', value: 'false' },
          ],
        },
      ],
    })
    return log
  } finally {
    await admin.disconnect()
    await client.end()
  }
}

type Query = Pick<pg.Client, 'query'>

/** The log that events are written to now; undefined before the first migration. */
export async function activeLog(client: Query): Promise<EventLogTopic | undefined> {
  const { rows } = await client.query<EventLogTopic>('SELECT topic, partitions FROM event_logs WHERE active')
  return rows[0]
}

async function insertLog(client: Query, partitions: number): Promise<EventLogTopic> {
  const topic = `tallyline-events-${randomBytes(4).toString('hex')}`
  await client.query('INSERT INTO event_logs (topic, partitions, active) VALUES ($1, $2, true)', [topic, partitions])
  return { topic, partitions }
}
