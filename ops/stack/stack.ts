import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { startClickHouse } from './clickhouse-server.ts'
import { dockerAnswers, startContainer } from './containers.ts'
import { type Guard, startGuard } from './guard.ts'
import { startKafka } from './kafka-server.kafka.ts'
import { startPostgres } from './postgres-server.postgres.ts'
import { missingPrograms, type Program } from './programs.ts'
import { startRedis } from './redis-server.redis.ts'
import type { Server, ServerName, StackServers } from './server.ts'

export type StackOptions<N extends ServerName> = {
  /** Where the servers' files lie. It stays, and a later start finds its data. Without it: a temporary one. */
  folder?: string
  /** Only these servers; all four when not given. */
  only?: readonly N[]
  /** 'native' starts no containers though a Docker engine answers. */
  by?: 'docker' | 'native'
}

/** The names under which the product finds its servers. */
export type StackEnv = Partial<Record<'KAFKA_BROKERS' | 'REDIS_URL' | 'CLICKHOUSE_URL' | 'DATABASE_URL', string>>

export type Stack<N extends ServerName = ServerName> = Pick<StackServers, N> & {
  env: StackEnv
  by: 'docker' | 'native'
  /** Stops them all and removes what this start made. */
  stop(): Promise<void>
}

const ALL: readonly ServerName[] = ['kafka', 'redis', 'postgres', 'clickhouse']

const PROGRAMS: Partial<Record<ServerName, readonly Program[]>> = {
  kafka: [
    { name: 'java', debianPackage: 'default-jre-headless', for: 'Kafka' },
    { name: 'mvn', debianPackage: 'maven', for: 'Kafka' },
  ],
  redis: [{ name: 'redis-server', debianPackage: 'redis-server', for: 'Redis' }],
}

/** What has been started so far and how to undo it, last first. */
type Started = { servers: Partial<StackServers>; undo: (() => Promise<void>)[] }

/**
 * Starts the servers that the product runs on when it has outgrown one process: in containers where a Docker engine
 * answers, else natively, with the HTTP front over chDB in ClickHouse's place.
 */
export async function startStack<N extends ServerName = ServerName>(options: StackOptions<N> = {}): Promise<Stack<N>> {
  const names: readonly ServerName[] = options.only ?? ALL
  const by = options.by ?? ((await dockerAnswers()) ? 'docker' : 'native')
  const started: Started = { servers: {}, undo: [] }
  let stopping: Promise<void> | undefined
  const stop = () => {
    stopping ??= undoAll(started)
    return stopping
  }
  try {
    if (by === 'docker') await startContainers(names, started)
    else await startNatively(names, options.folder, started)
  } catch (error) {
    await stop()
    throw error
  }
  return { ...(started.servers as Pick<StackServers, N>), env: envOf(started.servers), by, stop }
}

async function startContainers(names: readonly ServerName[], started: Started): Promise<void> {
  await allOrFirstError(
    names.map(async (name) => {
      const { server, remove } = await startContainer(name)
      started.undo.push(remove)
      Object.assign(started.servers, { [name]: server })
    }),
  )
}

async function startNatively(names: readonly ServerName[], folder: string | undefined, started: Started) {
  const missing = missingPrograms(names.flatMap((name) => PROGRAMS[name] ?? []))
  if (missing.length > 0) throw new Error(missing.join('\n'))
  const guard = startGuard()
  started.undo.push(() => guard.dismiss())
  const base = folder === undefined ? temporaryFolder(guard, started) : resolve(folder)
  // As root, Postgres runs as another user, who must be able to enter.
  mkdirSync(base, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 })
  const start: { [N in ServerName]: () => Promise<Server> } = {
    kafka: () => startKafka(join(base, 'kafka'), guard),
    redis: () => startRedis(join(base, 'redis'), guard),
    clickhouse: () => startClickHouse(join(base, 'clickhouse'), guard),
    postgres: async () => {
      const server = await startPostgres(join(base, 'postgres'), guard)
      const elsewhere = !server.dataFolder.startsWith(join(base, 'postgres'))
      if (elsewhere && folder === undefined) removeAtEnd(dirname(server.dataFolder), guard, started)
      return server
    },
  }
  await allOrFirstError(
    names.map(async (name) => {
      const server = await start[name]()
      started.undo.push(() => server.stop())
      Object.assign(started.servers, { [name]: server })
    }),
  )
}

function temporaryFolder(guard: Guard, started: Started): string {
  const folder = mkdtempSync(join(tmpdir(), 'tallyline-stack-'))
  if (process.getuid?.() === 0) chmodSync(folder, 0o711)
  removeAtEnd(folder, guard, started)
  return folder
}

/** Undone before what was there first, which is the guard, and after what is added later: the servers. */
function removeAtEnd(folder: string, guard: Guard, started: Started): void {
  guard.watchFolder(folder)
  started.undo.splice(1, 0, async () => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }))
}

/** Waits for all, so that nothing starts behind the back of whoever undoes it. */
async function allOrFirstError(starts: Promise<void>[]): Promise<void> {
  const failed = (await Promise.allSettled(starts)).find((result) => result.status === 'rejected')
  if (failed) throw failed.reason
}

/** Servers stop together, then folders go one after the other, the guard last. */
async function undoAll({ undo, servers }: Started): Promise<void> {
  await Promise.allSettled(Object.values(servers).map((server) => server.stop()))
  const errors: unknown[] = []
  for (const step of undo.splice(0).reverse()) await step().catch((error: unknown) => errors.push(error))
  if (errors.length > 0) throw errors[0]
}

function envOf({ kafka, redis, clickhouse, postgres }: Partial<StackServers>): StackEnv {
  return {
    ...(kafka ? { KAFKA_BROKERS: kafka.brokers } : {}),
    ...(redis ? { REDIS_URL: redis.url } : {}),
    ...(clickhouse ? { CLICKHOUSE_URL: clickhouse.url } : {}),
    ...(postgres ? { DATABASE_URL: postgres.url } : {}),
  }
}
