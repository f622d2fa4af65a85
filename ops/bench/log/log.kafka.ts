import { CompressionTypes } from 'kafkajs'
import { createKafkaLogWriter } from '../../../ingest/append/event-log.kafka.ts'
import { createLogger } from '../../host/logger.ts'
import { migrateKafka } from '../../migrate/migrate.kafka.ts'
import { migratePostgres } from '../../migrate/migrate.postgres.ts'
import { openKafka } from '../../stores/kafka.kafka.ts'
import { ownEnv } from '../database.postgres.ts'
import { type FigureInput, serversIn } from '../figure.ts'
import type { Logs } from './log.ts'

const PARTITIONS = 12

/** Both write to topics alike; the bare producer has kafkajs' own settings but for acks. */
export async function openKafkaLogs(input: FigureInput): Promise<Logs> {
  const servers = serversIn(input)
  const kafka = openKafka(servers.env.KAFKA_BROKERS.split(','), createLogger())
  const topic = async () => {
    const { DATABASE_URL } = await ownEnv(servers)
    await migratePostgres(DATABASE_URL)
    return (await migrateKafka(kafka, DATABASE_URL, PARTITIONS)).topic
  }
  const writer = createKafkaLogWriter({
    brokers: servers.env.KAFKA_BROKERS.split(','),
    topic: await topic(),
    partitions: PARTITIONS,
  })
  const bareTopic = await topic()
  const bare = kafka.producer()
  await writer.connect()
  await bare.connect()
  return {
    writer,
    floor: 'bare kafkajs producer, same records, acks=all',
    sendBare: (records) => {
      const messages = records.map(({ partition, record }) => ({ partition, value: record }))
      return bare.sendBatch({
        acks: -1,
        compression: CompressionTypes.None,
        topicMessages: [{ topic: bareTopic, messages }],
      })
    },
    close: async () => {
      await bare.disconnect()
      await writer.close()
    },
  }
}
