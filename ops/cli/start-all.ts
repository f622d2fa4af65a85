import { randomBytes, randomInt } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Pool } from 'pg'
import type { Logger } from 'pino'
import { Registry } from 'prom-client'
import { v7 as newId } from 'uuid'
import { type Aggregator, buildAggregator } from '../../aggregator/aggregator.ts'
import { createLmdbLogReader } from '../../aggregator/pump/event-log.lmdb.ts'
import type { EventLogReader } from '../../aggregator/pump/event-log.ts'
import { createLmdbLogWriter } from '../../ingest/append/event-log.lmdb.ts'
import type { EventLogWriter } from '../../ingest/append/event-log.ts'
import { buildIngest, type Ingest } from '../../ingest/ingest.ts'
import { createLmdbQuotaStore } from '../../ingest/quota/quota-store.lmdb.ts'
import type { QuotaStore } from '../../ingest/quota/quota-store.ts'
import type { Progress } from '../../invoicer/billing/run/steps.ts'
import { createClickHouseUsageReader } from '../../invoicer/billing/usage.clickhouse.ts'
import type { UsageReader } from '../../invoicer/billing/usage.ts'
import { manualGateway } from '../../invoicer/collection/payments/gateway.manual.ts'
import type { Gateway } from '../../invoicer/collection/payments/gateway.ts'
import { buildInvoicer } from '../../invoicer/invoicer.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { App, TenantId } from '../../schemas/http/door.ts'
import { createAuthenticator } from '../access/authenticate.ts'
import { keyDoor } from '../access/doors/keys.ts'
import { tenantDoor } from '../access/doors/tenants.ts'
import { openPool } from '../access/pool.postgres.ts'
import { openChdb } from '../embedded/chdb.clickhouse.ts'
import { lockFolder } from '../embedded/folder-lock.postgres.ts'
import { type EmbeddedLmdb, openLmdb } from '../embedded/lmdb.ts'
import { startEmbeddedPostgres } from '../embedded/postgres.ts'
import { withRawBodies } from '../host/bodies.ts'
import { listenForConfig } from '../host/config-listener.postgres.ts'
import { serveHealth } from '../host/health.ts'
import { buildHost } from '../host/server.ts'
import { migrateClickHouse } from '../migrate/migrate.clickhouse.ts'
import { migratePostgres } from '../migrate/migrate.postgres.ts'

export type StartOptions = {
  dataFolder: string
  host: string
  port: number
  enforceQuota: boolean
  cron: string | undefined
  version: string
  logger: Logger
  /** Called when a store that everything needs is gone for good: the process should stop. */
  onLost: () => void
  /** Replaces ports as they are handed to the roles: tests wrap them. The product leaves them as they are. */
  wrapPorts?: (ports: Ports) => Ports
}

/** What stands between the roles and the world. */
export type Ports = {
  writer: EventLogWriter
  reader: EventLogReader
  quota: QuotaStore
  /** Of the pump, rebuilds and seals. */
  store: ClickHouseStore
  /** Of whoever asks. */
  reads: ClickHouseStore
  usage: UsageReader
  gateway: Gateway
  progressOf: ((tenantId: TenantId, runId: string) => Progress) | undefined
}

export type Running = {
  url: string
  dataFolder: string
  /** Where the embedded Postgres keeps its files, if not in the data folder. */
  postgresFolder: string
  pool: Pool
  stop(): Promise<void>
}

/** Partitions of the embedded log: more only makes records smaller, fewer leaves the paths of many untested. */
const LOG_PARTITIONS = 4
/** Users' reads have connections of their own, so that they never keep the pump or a rebuild waiting. */
const CHDB_CONNECTIONS = { work: 2, reads: 2, mostWaitingReads: 100 }

export class FolderInUse extends Error {}

/** What is undone last to first when the product stops, or when its start fails half-way. */
type Undo = { add(undo: () => Promise<void>): void; run(): Promise<void> }

/** Starts everything in this process on embedded stores. */
export async function startAll(options: StartOptions): Promise<Running> {
  const undo = createUndo(options.logger)
  try {
    return await startParts(options, undo)
  } catch (error) {
    await undo.run()
    throw error
  }
}

async function startParts(options: StartOptions, undo: Undo): Promise<Running> {
  const { logger } = options
  const dataFolder = resolve(options.dataFolder)
  // As root, Postgres runs as another user, who must be able to enter; what is ours lies in closed folders below.
  mkdirSync(dataFolder, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 })
  const { pool, ownerUrl, postgresFolder } = await openPostgres(dataFolder, options, undo)
  // Both may take a second on the first start; they do not need each other.
  const [clickhouse, lmdb] = await Promise.all([openUsage(dataFolder, undo), openLog(dataFolder, undo)])
  const { app, roles } = await buildParts(options, pool, clickhouse, lmdb)
  const listener = listenForConfig(ownerUrl, roles.configChanged, (error) => logger.warn({ error }, 'config listener'))
  undo.add(() => listener.stop())
  undo.add(() => roles.ingest.stop())
  await roles.ingest.start()
  undo.add(() => roles.aggregator.stop())
  await roles.aggregator.start()
  undo.add(() => roles.invoicer.stop())
  await roles.invoicer.start()
  undo.add(() => app.close())
  const url = await app.listen({ host: options.host, port: options.port })
  return { url, dataFolder, postgresFolder, pool, stop: () => undo.run() }
}

async function openPostgres(dataFolder: string, { logger, onLost }: StartOptions, undo: Undo) {
  const postgres = await startEmbeddedPostgres(dataFolder)
  const lost = (error: Error) => {
    logger.error({ error }, 'the embedded Postgres is gone: stopping')
    onLost()
  }
  const lock = await lockFolder(postgres.url, lost)
  if (!lock)
    throw new FolderInUse(
      `Tallyline is already running on ${dataFolder}. Stop it first, or set TALLYLINE_DATA to another folder.`,
    )
  // Postgres stops while the lock is held: whoever waits for it then starts a server of its own.
  undo.add(() => lock.release())
  undo.add(() => {
    lock.expectEnd()
    return postgres.stop()
  })
  await migratePostgres(postgres.url)
  let ending = false
  const pool = openPool(postgres.url, 20, (error) => {
    if (!ending) logger.warn({ error }, 'a Postgres connection broke')
  })
  undo.add(() => {
    ending = true
    return pool.end()
  })
  return { pool, ownerUrl: postgres.url, postgresFolder: postgres.folder }
}

type ClickHouse = { store: ClickHouseStore; reads: ClickHouseStore }

async function openUsage(dataFolder: string, undo: Undo): Promise<ClickHouse> {
  const folder = join(dataFolder, 'clickhouse')
  const store = await openChdb(folder, CHDB_CONNECTIONS.work)
  undo.add(() => store.close())
  const reads = await openChdb(folder, CHDB_CONNECTIONS.reads, CHDB_CONNECTIONS.mostWaitingReads)
  undo.add(() => reads.close())
  await migrateClickHouse(store)
  return { store, reads }
}

async function openLog(dataFolder: string, undo: Undo): Promise<EmbeddedLmdb> {
  const lmdb = await openLmdb(join(dataFolder, 'log'), join(dataFolder, 'quota'))
  undo.add(() => lmdb.close())
  return lmdb
}

async function buildParts(options: StartOptions, pool: Pool, clickhouse: ClickHouse, lmdb: EmbeddedLmdb) {
  const { logger } = options
  const metrics = new Registry()
  const now = Date.now
  const auth = createAuthenticator({ pool, now })
  const app: App = await buildHost({ logger, metrics, authenticate: auth.authenticate, version: options.version })
  tenantDoor(app, { pool })
  keyDoor(app, { pool, randomBytes })
  const ports = (options.wrapPorts ?? ((same) => same))(openPorts(clickhouse, lmdb, now))
  const { writer, reader, quota, store, reads } = ports
  const { enforceQuota, cron } = options
  const ingest: Ingest = buildIngest({
    app,
    withRawBodies,
    pool,
    writer,
    quota,
    usage: reads,
    enforceQuota,
    logger,
    metrics,
    now,
  })
  const aggregator: Aggregator = buildAggregator({
    app,
    pool,
    store,
    reads,
    reader,
    logger,
    now,
    random20: () => randomInt(2 ** 20),
  })
  const { usage, gateway, progressOf } = ports
  const invoicer = buildInvoicer({
    app,
    pool,
    usage,
    gateway,
    logger,
    metrics,
    now,
    newId,
    cron,
    ...(progressOf ? { progressOf } : {}),
  })
  serveHealth(app, {
    logger,
    checks: [
      { name: 'aggregator', check: aggregator.check },
      { name: 'postgres', check: async () => pool.query('SELECT 1').then(() => ({ ok: true })) },
    ],
  })
  const configChanged = (table: string, tenant: number) => {
    if (table === '*') auth.invalidate()
    else if (table === 'api_keys') auth.invalidate(tenant)
    ingest.configChanged(table, tenant)
    aggregator.configChanged(table, tenant)
  }
  return { app, roles: { ingest, aggregator, invoicer, configChanged } }
}

function openPorts({ store, reads }: ClickHouse, lmdb: EmbeddedLmdb, now: () => number): Ports {
  return {
    writer: createLmdbLogWriter(lmdb.log, lmdb.logId, LOG_PARTITIONS, now),
    reader: createLmdbLogReader(lmdb.log, lmdb.logId, LOG_PARTITIONS),
    quota: createLmdbQuotaStore(lmdb.quota, now),
    store,
    reads,
    usage: createClickHouseUsageReader(reads),
    gateway: manualGateway,
    progressOf: undefined,
  }
}

function createUndo(logger: Logger): Undo {
  const steps: (() => Promise<void>)[] = []
  let running: Promise<void> | undefined
  const runAll = async (): Promise<void> => {
    for (const step of steps.splice(0).reverse()) {
      await step().catch((error: unknown) => logger.error({ error }, 'a part did not stop cleanly'))
    }
  }
  return {
    add: (step) => steps.push(step),
    run: () => {
      running ??= runAll()
      return running
    },
  }
}
