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
import { migrateClickHouse, migrateClickHouseAccess, skippedLine } from '../migrate/migrate.clickhouse.ts'
import { activeLog, type EventLogTopic, endedLogs, existingLogs, migrateKafka } from '../migrate/migrate.kafka.ts'
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
  /** Called when a store that everything needs is gone for good: the process should stop. */
  onLost: () => void
}

export type Stores = {
  pool: Pool
  ownerUrl: string
  /** ClickHouse for the pump, rebuilds and seals. */
  store: ClickHouseStore
  /** ClickHouse for whoever asks. */
  reads: ClickHouseStore
  /** Embedded log and counters; undefined when nothing of it is used. */
  lmdb: EmbeddedLmdb | undefined
  kafka: { client: Kafka; brokers: string[]; log: EventLogTopic; endedLogs: EventLogTopic[] } | undefined
  /** Undefined when no store is embedded. */
  dataFolder: string | undefined
  /** Where the embedded Postgres keeps its files, if it is embedded. */
  postgresFolder: string | undefined
}

export class FolderInUse extends Error {}

/** Users' reads have connections of their own, so that they never keep the pump or a rebuild waiting. */
const CHDB_CONNECTIONS = { work: 2, reads: 2, mostWaitingReads: 100 }

/** Opens what the roles need, servers or embedded, and brings it up to date. */
export async function openStores(options: StoresOptions, undo: Undo): Promise<Stores> {
  const embedded = embeddedStores(options.roles, options.servers)
  const dataFolder = embedded.length > 0 ? makeFolder(options.dataFolder) : undefined
  const postgres = await openPostgres(options, dataFolder)
  if (dataFolder) {
    const lock = await takeFolder(dataFolder, postgres.ownerUrl, options)
    // Only whoever has the folder may stop its Postgres. It stops while the lock is held: whoever waits for the folder
    // then starts a server of its own.
    undo.add(() => lock.release())
    undo.add(() => {
      lock.expectEnd()
      return postgres.stop()
    })
  }
  if (options.migrate) await migratePostgres(postgres.ownerUrl)
  const pool = openClosingPool(postgres.ownerUrl, options.logger, undo)
  const usesLog = options.roles.some((role) => role !== 'invoicer')
  // Each may take a second on the first start; they do not need each other.
  const [clickhouse, kafka, lmdb] = await Promise.all([
    openUsage(options, dataFolder, undo),
    usesLog && options.servers.kafkaBrokers
      ? openLog(options, options.servers.kafkaBrokers, pool, postgres.ownerUrl)
      : undefined,
    embedded.includes('kafkaBrokers') || embedded.includes('redisUrl') ? openEmbedded(dataFolder, undo) : undefined,
  ])
  const { ownerUrl, postgresFolder } = postgres
  return { ownerUrl, postgresFolder, pool, ...clickhouse, kafka, lmdb, dataFolder }
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
async function takeFolder(dataFolder: string, ownerUrl: string, options: StoresOptions): Promise<FolderLock> {
  const lost = (error: Error) => {
    options.logger.error({ error }, 'the Postgres of the data folder is gone: stopping')
    options.onLost()
  }
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

type ClickHouse = Pick<Stores, 'store' | 'reads'>

async function openUsage(
  { servers, migrate, logger }: StoresOptions,
  dataFolder: string | undefined,
  undo: Undo,
): Promise<ClickHouse> {
  if (servers.clickhouseUrl) {
    const store = openClickHouse(servers.clickhouseUrl)
    undo.add(() => store.close())
    if (migrate) {
      await migrateClickHouse(store)
      const skipped = skippedLine(await migrateClickHouseAccess(store))
      if (skipped) logger.warn(skipped)
    }
    return { store, reads: store }
  }
  const folder = join(dataFolder ?? '', 'clickhouse')
  const store = await openChdb(folder, CHDB_CONNECTIONS.work)
  undo.add(() => store.close())
  const reads = await openChdb(folder, CHDB_CONNECTIONS.reads, CHDB_CONNECTIONS.mostWaitingReads)
  undo.add(() => reads.close())
  await migrateClickHouse(store)
  return { store, reads }
}

async function openLog(options: StoresOptions, brokers: string[], pool: Pool, ownerUrl: string) {
  const client = openKafka(brokers, options.logger)
  const log = options.migrate ? await migrateKafka(client, ownerUrl, options.kafka.partitions) : await activeLog(pool)
  if (!log) throw new Error('There is no event log yet: run "tallyline migrate" first')
  return { client, brokers, log, endedLogs: await existingLogs(client, await endedLogs(pool)) }
}

async function openEmbedded(dataFolder: string | undefined, undo: Undo): Promise<EmbeddedLmdb> {
  const folder = dataFolder ?? ''
  const lmdb = await openLmdb(join(folder, 'log'), join(folder, 'quota'))
  undo.add(() => lmdb.close())
  return lmdb
}
