import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Admin, Kafka } from 'kafkajs'
import pg from 'pg'
import { topicEnds } from '../../schemas/event/topic.kafka.ts'

export type EventLogTopic = { topic: string; partitions: number }

/** Keeps two migrators of one database apart. */
const TOPIC_LOCK = 7_215_503
const DAY_MS = 86_400_000
/** The log is kept this long behind the store (design §3 asks for 7 days at least). */
const RETENTION_MS = 14 * DAY_MS
const LED_WITHIN_MS = 30_000

/**
 * Creates the topic of the event log, once, under a name that is drawn, and notes it in Postgres. The topic comes
 * first: a row means that it was there, so one that is missing later is never made anew under the same name, where its
 * offsets would be mistaken for progress (design §3). After a crash between the two an empty topic stays behind.
 *
 * `newLog` ends the present log and begins another one: that is how the number of partitions changes (design §2.4).
 * Writers take the new one when they start; aggregators that start from now on read both.
 */
export async function migrateKafka(
  kafka: Kafka,
  ownerUrl: string,
  partitions: number,
  { newLog = false } = {},
): Promise<EventLogTopic> {
  const client = new pg.Client({ connectionString: ownerUrl })
  await client.connect()
  const admin = kafka.admin()
  try {
    await client.query('SELECT pg_advisory_lock($1)', [TOPIC_LOCK])
    await admin.connect()
    const log = await activeLog(client)
    if (log) {
      await requireTopic(admin, log)
      if (!newLog) return log
    }
    const created = await createLogTopic(admin, partitions)
    await beginLog(client, created)
    return created
  } finally {
    await admin.disconnect()
    await client.end()
  }
}

type Query = Pick<pg.Client, 'query'>

/** From here on events are written to this log, and to no other by whoever starts. */
async function beginLog(client: Query, { topic, partitions }: EventLogTopic): Promise<void> {
  await client.query('BEGIN')
  await client.query('UPDATE event_logs SET active = false WHERE active')
  // Not the time of the transaction's begin, which lies before the end of the log that it follows.
  const insert = `INSERT INTO event_logs (topic, partitions, active, created_at) VALUES ($1, $2, true, clock_timestamp())`
  await client.query(insert, [topic, partitions])
  await client.query('COMMIT')
}

/** The log that events are written to now; undefined before the first migration. */
export async function activeLog(client: Query): Promise<EventLogTopic | undefined> {
  const { rows } = await client.query<EventLogTopic>('SELECT topic, partitions FROM event_logs WHERE active')
  return rows[0]
}

/**
 * Logs that ended. However long ago that is, each may hold records that are not stored yet: a process that has not been
 * started since goes on to write there.
 */
export async function endedLogs(client: Query): Promise<EventLogTopic[]> {
  const { rows } = await client.query<EventLogTopic>(
    'SELECT topic, partitions FROM event_logs WHERE NOT active ORDER BY created_at',
  )
  return rows
}

/** Those whose topics Kafka still has: a log is forgotten when its topic is deleted. */
export async function existingLogs(kafka: Kafka, logs: readonly EventLogTopic[]): Promise<EventLogTopic[]> {
  if (logs.length === 0) return []
  const admin = kafka.admin()
  try {
    await admin.connect()
    const topics = new Set(await admin.listTopics())
    return logs.filter(({ topic }) => topics.has(topic))
  } finally {
    await admin.disconnect()
  }
}

/** Creates a topic for an event log, with a name that no other had. */
export async function createLogTopic(admin: Admin, partitions: number): Promise<EventLogTopic> {
  const topic = `tallyline-events-${randomBytes(8).toString('hex')}`
  const { brokers } = await admin.describeCluster()
  const replicas = Math.min(3, brokers.length)
  const settings = {
    'message.timestamp.type': 'LogAppendTime',
    'cleanup.policy': 'delete',
    'retention.ms': RETENTION_MS,
    'min.insync.replicas': Math.min(2, replicas),
    'unclean.leader.election.enable': false,
  }
  const configEntries = Object.entries(settings).map(([name, value]) => ({ name, value: String(value) }))
  const created = await admin.createTopics({
    // kafkajs waits wrongly: a broker that does not know of the new topic yet fails it.
    waitForLeaders: false,
    topics: [{ topic, numPartitions: partitions, replicationFactor: replicas, configEntries }],
  })
  if (!created) throw new Error(`Topic ${topic} was there before it was created`)
  await untilLed(admin, topic, partitions)
  return { topic, partitions }
}

/** Resolves when each partition has a leader that answers. */
async function untilLed(admin: Admin, topic: string, partitions: number): Promise<void> {
  for (const untilMs = Date.now() + LED_WITHIN_MS; ; await sleep(50)) {
    try {
      await topicEnds(admin, topic, partitions)
      return
    } catch (error) {
      if (Date.now() > untilMs) throw error
    }
  }
}

async function requireTopic(admin: Admin, { topic }: EventLogTopic): Promise<void> {
  if ((await admin.listTopics()).includes(topic)) return
  throw new Error(
    `Kafka does not have the topic ${topic} any more, which is the event log: what was not stored of it is lost. ` +
      `If this is the right Kafka, end that log (UPDATE event_logs SET active = false WHERE topic = '${topic}') ` +
      'and migrate again: that begins a new one.',
  )
}
