import { type Admin, ConfigResourceTypes, Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { activeLog, endedLogs, existingLogs, migrateKafka } from '../../ops/migrate/migrate.kafka.ts'
import type { KafkaServer } from '../../ops/stack/server.ts'
import { openKafka } from '../../ops/stores/kafka.kafka.ts'
import { createTestDatabase } from '../support/test-database.ts'
import { silent } from './event-log.kafka-place.ts'

/** `tallyline migrate` on Kafka: one topic, once, and never a second one under its name (design §3). */
export function describeKafkaMigration(server: () => KafkaServer): void {
  describe('migration of Kafka', () => {
    let kafka: Kafka
    let admin: Admin

    beforeAll(async () => {
      kafka = openKafka([server().brokers], silent)
      admin = kafka.admin()
      await admin.connect()
    })
    afterAll(() => admin.disconnect())

    const database = async () => {
      const own = await createTestDatabase()
      onTestFinished(() => own.drop())
      return own
    }

    test('run twice and at once makes one topic, which keeps its number of partitions', async () => {
      const { ownerUrl, pool } = await database()
      const topics = (await admin.listTopics()).length
      const logs = await Promise.all([5, 5, 5].map((partitions) => migrateKafka(kafka, ownerUrl, partitions)))
      logs.push(await migrateKafka(kafka, ownerUrl, 9))
      const [log] = logs
      expect(logs).toEqual(logs.map(() => log))
      expect(log?.partitions).toBe(5)
      expect(await activeLog(pool)).toEqual(log)
      expect(await admin.listTopics()).toHaveLength(topics + 1)
      const resources = [{ type: ConfigResourceTypes.TOPIC, name: log?.topic ?? '' }]
      const described = await admin.describeConfigs({ includeSynonyms: false, resources })
      const settings = new Map(described.resources[0]?.configEntries.map((one) => [one.configName, one.configValue]))
      expect(settings.get('message.timestamp.type')).toBe('LogAppendTime')
      expect(settings.get('cleanup.policy')).toBe('delete')
      expect(Number(settings.get('retention.ms'))).toBeGreaterThanOrEqual(7 * 86_400_000)
      expect(settings.get('unclean.leader.election.enable')).toBe('false')
    })

    test('a topic that is gone is not made anew under its name; a log that was ended is followed by another', async () => {
      const { ownerUrl } = await database()
      const log = await migrateKafka(kafka, ownerUrl, 2)
      await admin.deleteTopics({ topics: [log.topic] })
      const refusal = await migrateKafka(kafka, ownerUrl, 2).catch(String)
      expect(refusal).toContain(`Kafka does not have the topic ${log.topic} any more`)
      expect(await admin.listTopics()).not.toContain(log.topic)
      const [, sql = ''] = /\((UPDATE .*)\) and migrate again/.exec(String(refusal)) ?? []
      await runSql(ownerUrl, sql)
      const next = await migrateKafka(kafka, ownerUrl, 2)
      expect(next.topic).not.toBe(log.topic)
      expect(await admin.listTopics()).toContain(next.topic)
    })

    test('a new log follows the present one, which is kept to be read to its end as long as Kafka has it', async () => {
      const { ownerUrl, pool } = await database()
      const first = await migrateKafka(kafka, ownerUrl, 4)
      expect(await endedLogs(pool)).toEqual([])
      const second = await migrateKafka(kafka, ownerUrl, 12, { newLog: true })
      expect([first.partitions, second.partitions]).toEqual([4, 12])
      expect(second.topic).not.toBe(first.topic)
      expect(await activeLog(pool)).toEqual(second)
      expect(await endedLogs(pool)).toEqual([first])
      expect(await existingLogs(kafka, [first])).toEqual([first])
      // Without being told so nothing ends.
      expect(await migrateKafka(kafka, ownerUrl, 24)).toEqual(second)
      // However long ago: a process that was not started again still writes there.
      await runSql(ownerUrl, "UPDATE event_logs SET created_at = created_at - interval '400 days'")
      expect(await existingLogs(kafka, await endedLogs(pool))).toEqual([first])
      await admin.deleteTopics({ topics: [first.topic] })
      expect(await existingLogs(kafka, await endedLogs(pool))).toEqual([])
    })

    test('a Kafka that is away notes nothing, and the next run begins', async () => {
      const { ownerUrl, pool } = await database()
      const nobody = new Kafka({ brokers: ['127.0.0.1:1'], logLevel: logLevel.NOTHING, retry: { retries: 0 } })
      await expect(migrateKafka(nobody, ownerUrl, 2)).rejects.toThrow('ECONNREFUSED')
      expect(await activeLog(pool)).toBeUndefined()
      expect((await migrateKafka(kafka, ownerUrl, 2)).partitions).toBe(2)
    })
  })
}

async function runSql(ownerUrl: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString: ownerUrl })
  await client.connect()
  await client.query(sql)
  await client.end()
}
