import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Kafka } from 'kafkajs'
import type { Pool } from 'pg'
import type { Logger } from 'pino'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { openPool } from '../access/pool.postgres.ts'
import { openChdb } from '../embedded/chdb.clickhouse.ts'
import { type FolderLock, lockFolder } from '../embedded/folder-lock.postgres.ts'
import { type EmbeddedLmdb, openLmdb } from '../embedded/lmdb.ts'
import { startEmbeddedPostgres } from '../embedded/postgres.ts'
import { migrateClickHouse } from '../migrate/migrate.clickhouse.ts'
import { activeLog, type EventLogTopic, migrateKafka } from '../migrate/migrate.kafka.ts'
import { migratePostgres } from '../migrate/migrate.postgres.ts'
import { openClickHouse } from '../stores/clickhouse-http.clickhouse.ts'
import { openKafka } from '../stores/kafka.kafka.ts'
import { embeddedStores, type KafkaSettings, type Role, type Servers } from './settings.ts'
import type { Undo } from './undo.ts'

export type StoresOptions = {
  roles: readonly Role[]
  servers: Servers
  kafka: KafkaSettings
  dataFolder: string
  /** Create and update tables and topics at the start. Otherwise they must be there. */
  migrate: boolean
  logger: Logger
}

export type Stores = {
  pool: Pool
  ownerUrl: string
  usage: ClickHouseStore
  /** Embedded log and counters; undefined when nothing of it is used. */
  lmdb: EmbeddedLmdb | undefined
  kafka: { client: Kafka; log: EventLogTopic } | undefined
  /** Undefined when no store is embedded. */
  dataFolder: string | undefined
  /** Where the embedded Postgres keeps its files, if it is embedded. */
  postgresFolder: string | undefined
}

export class FolderInUse extends Error {}

/** chDB connections: the pump, rebuilds, and two for reads. */
const CHDB_CONNECTIONS = 4

/** Opens what the roles need, servers or embedded, and brings it up to date. */
export async function openStores(options: StoresOptions, undo: Undo): Promise<Stores> {
  const embedded = embeddedStores(options.roles, options.servers)
  const dataFolder = embedded.length > 0 ? makeFolder(options.dataFolder) : undefined
  const postgres = await openPostgres(options, dataFolder)
  if (dataFolder) {
    const lock = await takeFolder(dataFolder, postgres.ownerUrl, options.logger)
    // Only whoever has the folder may stop its Postgres; a start that is refused leaves it alone.
    undo.add(postgres.stop)
    undo.add(() => lock.release())
  }
  if (options.migrate) await migratePostgres(postgres.ownerUrl)
  const pool = openClosingPool(postgres.ownerUrl, options.logger, undo)
  const usesLog = options.roles.some((role) => role !== 'invoicer')
  // Each may take a second on the first start; they do not need each other.
  const [usage, kafka, lmdb] = await Promise.all([
    openUsage(options, dataFolder, undo),
    usesLog && options.servers.kafkaBrokers
      ? openLog(options, options.servers.kafkaBrokers, pool, postgres.ownerUrl)
      : undefined,
    embedded.includes('kafkaBrokers') || embedded.includes('redisUrl') ? openEmbedded(dataFolder, undo) : undefined,
  ])
  const { ownerUrl, postgresFolder } = postgres
  return { ownerUrl, postgresFolder, pool, usage, kafka, lmdb, dataFolder }
}

function makeFolder(path: string): string {
  const folder = resolve(path)
  // As root, Postgres runs as another user, who must be able to enter; what is ours lies in closed folders below.
  mkdirSync(folder, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 })
  return folder
}

async function openPostgres({ servers }: StoresOptions, dataFolder: string | undefined) {
  if (servers.databaseUrl || !dataFolder) {
    return { ownerUrl: servers.databaseUrl ?? '', postgresFolder: undefined, stop: async () => undefined }
  }
  const { url, folder, stop } = await startEmbeddedPostgres(dataFolder)
  return { ownerUrl: url, postgresFolder: folder, stop }
}

/** One process a folder, whichever Postgres keeps the lock. */
async function takeFolder(dataFolder: string, ownerUrl: string, logger: Logger): Promise<FolderLock> {
  const lost = (error: Error) => logger.error({ error }, 'the lock of the data folder is gone')
  const lock = await lockFolder(ownerUrl, dataFolder, lost)
  if (lock) return lock
  throw new FolderInUse(
    `Tallyline is already running on ${dataFolder}. Stop it first, or set TALLYLINE_DATA to another folder.`,
  )
}

function openClosingPool(ownerUrl: string, logger: Logger, undo: Undo): Pool {
  let ending = false
  const pool = openPool(ownerUrl, 20, (error) => {
    if (!ending) logger.warn({ error }, 'a Postgres connection broke')
  })
  undo.add(() => {
    ending = true
    return pool.end()
  })
  return pool
}

async function openUsage(
  { servers, migrate }: StoresOptions,
  dataFolder: string | undefined,
  undo: Undo,
): Promise<ClickHouseStore> {
  const store = servers.clickhouseUrl
    ? openClickHouse(servers.clickhouseUrl)
    : await openChdb(join(dataFolder ?? '', 'clickhouse'), CHDB_CONNECTIONS)
  undo.add(() => store.close())
  if (migrate || !servers.clickhouseUrl) await migrateClickHouse(store)
  return store
}

async function openLog(options: StoresOptions, brokers: string[], pool: Pool, ownerUrl: string) {
  const client = openKafka(brokers, options.logger)
  const log = options.migrate ? await migrateKafka(client, ownerUrl, options.kafka.partitions) : await activeLog(pool)
  if (!log) throw new Error('There is no event log yet: run "tallyline migrate" first')
  return { client, log }
}

async function openEmbedded(dataFolder: string | undefined, undo: Undo): Promise<EmbeddedLmdb> {
  const folder = dataFolder ?? ''
  const lmdb = await openLmdb(join(folder, 'log'), join(folder, 'quota'))
  undo.add(() => lmdb.close())
  return lmdb
}
