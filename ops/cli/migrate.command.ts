import { parseArgs } from 'node:util'
import { createLogger } from '../host/logger.ts'
import { migrateClickHouse, migrateClickHouseAccess, skippedLine } from '../migrate/migrate.clickhouse.ts'
import { migrateKafka } from '../migrate/migrate.kafka.ts'
import { migratePostgres } from '../migrate/migrate.postgres.ts'
import { openClickHouse } from '../stores/clickhouse-http.clickhouse.ts'
import { openKafka } from '../stores/kafka.kafka.ts'
import { type Env, kafkaSettingsOf, serversOf } from './settings.ts'

const HELP = `Usage: tallyline migrate [--new-log]

Creates and updates tables, roles and topics on the servers named by DATABASE_URL, CLICKHOUSE_URL and KAFKA_BROKERS.
Safe to run twice and at once. Embedded stores need no such step: "tallyline start" does it.
  KAFKA_PARTITIONS   12; of a new event log
  --new-log          ends the event log and begins one with KAFKA_PARTITIONS partitions. Afterwards restart the
                     aggregators, which then read both, and then the ingest processes, one after the other.
`

type Streams = { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }

export async function migrateCommand(argv: string[], env: Env, { stdout, stderr }: Streams): Promise<number> {
  const { values } = parseArgs({ args: argv, options: { help: { type: 'boolean' }, 'new-log': { type: 'boolean' } } })
  const { databaseUrl, clickhouseUrl, kafkaBrokers } = serversOf(env)
  if (values.help || !databaseUrl) {
    ;(values.help ? stdout : stderr).write(values.help ? HELP : 'Set DATABASE_URL to the Postgres to migrate.\n')
    return values.help ? 0 : 1
  }
  const newLog = values['new-log'] ?? false
  if (newLog && !kafkaBrokers) {
    stderr.write('Set KAFKA_BROKERS to the Kafka on which the new log is to begin.\n')
    return 1
  }
  stdout.write(`Postgres: ${told(await migratePostgres(databaseUrl))}\n`)
  if (clickhouseUrl) {
    const store = openClickHouse(clickhouseUrl)
    try {
      stdout.write(`ClickHouse: ${told(await migrateClickHouse(store))}\n`)
      const access = await migrateClickHouseAccess(store)
      stdout.write(`ClickHouse's users: ${skippedLine(access) ?? told(access.done)}\n`)
    } finally {
      await store.close()
    }
  }
  if (kafkaBrokers) {
    const kafka = openKafka(kafkaBrokers, createLogger({ level: env.LOG_LEVEL || 'warn' }))
    const log = await migrateKafka(kafka, databaseUrl, kafkaSettingsOf(env).partitions, { newLog })
    stdout.write(`Kafka: topic ${log.topic} with ${log.partitions} partitions\n`)
  }
  return 0
}

function told(done: readonly string[]): string {
  return done.length > 0 ? done.join(', ') : 'up to date'
}
