import { randomBytes } from 'node:crypto'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join as pathOf } from 'node:path'
import { createOperatorKey } from '../../../ops/access/create-key.ts'
import { openPool } from '../../../ops/access/pool.postgres.ts'
import type { Role } from '../../../ops/cli/settings.ts'
import { createLogger } from '../../../ops/host/logger.ts'
import type { EventLogTopic } from '../../../ops/migrate/migrate.kafka.ts'
import type { StackEnv } from '../../../ops/stack/stack.ts'
import { openKafka } from '../../../ops/stores/kafka.kafka.ts'
import { topicEnds } from '../../../schemas/event/topic.kafka.ts'
import { LENGTHS } from '../../support/lengths.ts'
import { oneUrl } from '../../support/one-url.ts'
import { COMMAND, launch } from '../../support/product.ts'
import { type AskStores, askServers } from '../ask-stores.ts'
import type { Site } from '../mortal.ts'
import type { Plant } from '../steps.ts'
import { createRoleProcess, type RoleProcess } from './role-process.ts'

/** The product on servers: one process a role, several of each if a test wants, one URL in front of them. */
export type ServersRig = {
  /** Each request goes to a living process of its role; 503 when there is none. */
  url: string
  /** An operator's. */
  key: string
  ask: AskStores
  /** The file in which the gateway of every invoicer books what it was asked. */
  book: string
  process(name: string): RoleProcess
  /** One more, such as 'aggregator-2', that is not started yet. */
  add(name: string, plant?: Plant): RoleProcess
  /** The same, started; resolves when it is ready. */
  join(name: string, plant?: Plant): Promise<RoleProcess>
  /** The log that events are written to by whoever starts now. */
  activeLog(): Promise<EventLogTopic>
  /** The next offset of each partition of a log, the active one if none is named, from the broker. */
  logEnds(log?: EventLogTopic): Promise<number[]>
  /** The active log ends and another one begins. */
  beginLog(partitions: number): Promise<EventLogTopic>
  /** Whether anything was embedded, which must not be. */
  embedded(): boolean
  remove(): Promise<void>
}

export type RigOptions = {
  /** Such as 'ingest-1', 'aggregator-1', 'aggregator-2'. One of each role when not given. */
  processes?: readonly string[]
  plant?: Plant | undefined
}

/** The rig as the crash tests know the product. */
export function siteOf({ url, key, ask, book }: ServersRig): Site {
  return { url: () => url, key, ask, book }
}

const ONE_OF_EACH = ['ingest-1', 'aggregator-1', 'invoicer-1']

/** Migrates the servers, makes a key and starts the processes. */
export async function createServersRig(stackEnv: StackEnv, options: RigOptions = {}): Promise<ServersRig> {
  const { KAFKA_BROKERS, REDIS_URL, CLICKHOUSE_URL, DATABASE_URL } = stackEnv
  if (!KAFKA_BROKERS || !REDIS_URL || !CLICKHOUSE_URL || !DATABASE_URL) throw new Error('A server of the stack is away')
  const files = mkdtempSync(pathOf(tmpdir(), 'tallyline-rig-'))
  const env = {
    ...{ KAFKA_BROKERS, REDIS_URL, CLICKHOUSE_URL, DATABASE_URL },
    KAFKA_PARTITIONS: '4',
    KAFKA_SESSION_TIMEOUT_MS: String(LENGTHS.sessionTimeoutMs),
    // One broker has one clock.
    SEAL_CLOCK_MARGIN_MS: '1000',
    PORT: '0',
    TALLYLINE_DATA: pathOf(files, 'never-made'),
  }
  const book = pathOf(files, 'charges.ndjson')
  const processes = new Map<string, RoleProcess>()
  const urlOf = (role: Role) =>
    [...processes.values()].find((one) => one.role === role && one.url() !== undefined && !one.frozen())?.url()
  const add = (name: string, plant = options.plant) => {
    if (processes.has(name)) throw new Error(`${name} is there already: start it again`)
    const added = createRoleProcess(name, env, { book, ...(plant ? { plant } : {}) })
    processes.set(name, added)
    return added
  }
  const join = async (name: string, plant = options.plant) => {
    const joined = add(name, plant)
    await joined.start()
    return joined
  }
  const ask = askServers({ databaseUrl: DATABASE_URL, clickhouseUrl: CLICKHOUSE_URL })
  await migrate(env)
  const key = await makeKey(DATABASE_URL)
  const proxy = await oneUrl({
    get ingest() {
      return urlOf('ingest')
    },
    get aggregator() {
      return urlOf('aggregator')
    },
    get invoicer() {
      return urlOf('invoicer')
    },
  })
  const remove = async () => {
    await Promise.all([...processes.values()].map((one) => one.remove()))
    await proxy.close()
    rmSync(files, { recursive: true, force: true })
  }
  const begun = await Promise.allSettled((options.processes ?? ONE_OF_EACH).map((name) => join(name)))
  const failed = begun.find((one) => one.status === 'rejected')
  if (failed) {
    await remove()
    throw failed.reason
  }
  return {
    url: proxy.url,
    key,
    ask,
    book,
    process: (name) => {
      const found = processes.get(name)
      if (!found) throw new Error(`There is no process ${name}`)
      return found
    },
    activeLog: () => activeLog(ask),
    logEnds: async (log) => logEnds(KAFKA_BROKERS, log ?? (await activeLog(ask))),
    beginLog: async (partitions) => {
      await migrate({ ...env, KAFKA_PARTITIONS: String(partitions) }, '--new-log')
      return activeLog(ask)
    },
    add,
    join,
    embedded: () => existsSync(env.TALLYLINE_DATA),
    remove,
  }
}

async function migrate(env: Record<string, string>, ...options: string[]): Promise<void> {
  const command = launch([COMMAND, 'migrate', ...options], env)
  const { code } = await command.exited
  if (code !== 0) throw new Error(`migrate ended with ${code}: ${command.stderr()}`)
}

async function activeLog(ask: AskStores): Promise<EventLogTopic> {
  const [log] = await ask.postgres<EventLogTopic>('SELECT topic, partitions FROM event_logs WHERE active')
  if (!log) throw new Error('There is no event log')
  return log
}

async function logEnds(brokers: string, { topic, partitions }: EventLogTopic): Promise<number[]> {
  const admin = openKafka(brokers.split(','), createLogger({ level: 'silent' })).admin()
  await admin.connect()
  try {
    return await topicEnds(admin, topic, partitions)
  } finally {
    await admin.disconnect()
  }
}

async function makeKey(databaseUrl: string): Promise<string> {
  const pool = openPool(databaseUrl, 1, () => undefined)
  try {
    return (await createOperatorKey(pool, randomBytes)).key
  } finally {
    await pool.end()
  }
}
