import { randomBytes } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createOperatorKey } from '../access/create-key.ts'
import { createLogger } from '../host/logger.ts'
import { cronOf, dataFolderOf, type Env, enforceQuotaOf, portOf } from './settings.ts'
import { FolderInUse, type Running, startAll } from './start-all.ts'
import { productVersion } from './version.ts'

const HELP = `Usage: tallyline start

Starts everything in one process on embedded stores. Settings come from the environment:
  PORT               8081
  HOST               127.0.0.1
  TALLYLINE_DATA     ./.tallyline
  QUOTA_ENFORCEMENT  true; false records usage beyond a limit instead of refusing it
  BILLING_CRON       5 * * * *  (UTC); off: billing runs only on demand
  LOG_LEVEL          info; JSON lines on stderr
`
const LATER_STORES = ['KAFKA_BROKERS', 'REDIS_URL', 'CLICKHOUSE_URL', 'DATABASE_URL']

type Streams = { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }

/** Runs until SIGINT or SIGTERM, then stops in order: HTTP, invoicer, aggregator, ingest, stores. */
export async function startCommand(argv: string[], env: Env, { stdout, stderr }: Streams): Promise<number> {
  const { values } = parseArgs({ args: argv, options: { help: { type: 'boolean' } } })
  if (values.help) {
    stdout.write(HELP)
    return 0
  }
  const servers = LATER_STORES.filter((name) => env[name])
  if (servers.length > 0) {
    stderr.write(`${servers.join(', ')}: this version runs on embedded stores only. Unset it to start.\n`)
    return 1
  }
  const { stop, lost } = stopSignal()
  let running: Running
  try {
    running = await startAll({
      dataFolder: dataFolderOf(env),
      host: env.HOST || '127.0.0.1',
      port: portOf(env),
      enforceQuota: enforceQuotaOf(env),
      cron: cronOf(env),
      onLost: lost,
      version: productVersion(),
      logger: createLogger({ level: env.LOG_LEVEL || 'info' }),
    })
  } catch (error) {
    const known = knownTrouble(error, env)
    if (!known) throw error
    stderr.write(`${known}\n`)
    return 1
  }
  await introduce(running, stdout)
  const reason = await stop
  stdout.write(`Stopping (${reason})…\n`)
  await running.stop()
  stdout.write('Stopped.\n')
  return reason === LOST ? 1 : 0
}

async function introduce(running: Running, stdout: NodeJS.WritableStream): Promise<void> {
  stdout.write(`Tallyline is ready at ${running.url}\nData: ${running.dataFolder}\n`)
  if (!running.postgresFolder.startsWith(running.dataFolder))
    stdout.write(`Postgres: ${running.postgresFolder} (linked)\n`)
  // The file keeps only the fact: a key is shown once and never stored.
  const shown = join(running.dataFolder, 'development-key-shown')
  if (existsSync(shown)) return
  const { key } = await createOperatorKey(running.pool, randomBytes)
  stdout.write(`Development key, shown this once, with every permission:\n${key}\n`)
  writeFileSync(shown, `${new Date().toISOString()}\n`)
}

const LOST = 'a store is gone'

/** Resolves with why to stop: a signal, or that going on makes no sense. */
function stopSignal(): { stop: Promise<string>; lost: () => void } {
  let lost = () => {}
  const stop = new Promise<string>((resolve) => {
    lost = () => resolve(LOST)
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => resolve(signal))
  })
  return { stop, lost }
}

/** What the user can mend, as a sentence. */
function knownTrouble(error: unknown, env: Env): string | undefined {
  if (error instanceof FolderInUse) return error.message
  // chDB's own lock: a product whose Postgres died may still be stopping.
  if ((error as { code?: unknown }).code === '76') return 'Tallyline is still running on this folder: stop it first.'
  if ((error as { code?: unknown }).code === 'EADDRINUSE') return `Port ${portOf(env)} is in use: set PORT to another.`
  return undefined
}
