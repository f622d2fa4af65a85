import { randomBytes } from 'node:crypto'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { createOperatorKey } from '../access/create-key.ts'
import { hasKeys } from '../access/keys.postgres.ts'
import { createLogger } from '../host/logger.ts'
import { type Running, runRoles } from './run-roles.ts'
import {
  allowPrivateWebhooksOf,
  cronOf,
  dataFolderOf,
  defaultPlanOf,
  type Env,
  enforceQuotaOf,
  kafkaSettingsOf,
  mailOf,
  portOf,
  ROLES,
  type Role,
  refusal,
  serversOf,
  stripeTaxOf,
} from './settings.ts'
import { FolderInUse } from './stores.ts'
import { productVersion } from './version.ts'

const SETTINGS = `Settings come from the environment:
  PORT               8081; alone, ingest 8081, aggregator 8082, invoicer 8083
  HOST               127.0.0.1
  KAFKA_BROKERS, REDIS_URL, CLICKHOUSE_URL, DATABASE_URL
                     each switches its store from embedded to that server
  KAFKA_INPUT_PREFIX tallyline-input. (tenants' own topics: <prefix><tenant>.<name>); off: none is read
  TALLYLINE_DATA     ./.tallyline, for embedded stores
  BILLING_TIER_DEFAULT  basic; the plan whose entitlements hold for subjects without a subscription
  QUOTA_ENFORCEMENT  true; false records usage beyond a limit instead of refusing it
  WEBHOOK_ALLOW_PRIVATE  false; true lets webhooks go to private addresses, and without TLS
  SMTP_URL           smtp://user:password@host:587 or smtps://…:465, for webhooks that go by mail
  MAIL_FROM          the address that they come from; both or neither
  STRIPE_TAX_KEY     asks Stripe Tax for legal entities with "engine": "stripe"; STRIPE_API_URL: a proxy before it
  BILLING_CRON       5 * * * *  (UTC); off: billing runs only on demand
  LOG_LEVEL          info; JSON lines on stderr
`
const PORTS: Record<Role, number> = { ingest: 8081, aggregator: 8082, invoicer: 8083 }

type Streams = { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }

/** `start` runs all roles in this process, `ingest`, `aggregator` and `invoicer` one, until SIGINT or SIGTERM. */
export async function serveCommand(
  command: 'start' | Role,
  argv: string[],
  env: Env,
  { stdout, stderr }: Streams,
): Promise<number> {
  const { values } = parseArgs({ args: argv, options: { help: { type: 'boolean' } } })
  const what = command === 'start' ? 'all roles in one process' : `the ${command} role; its stores must be servers`
  if (values.help) {
    stdout.write(`Usage: tallyline ${command}\n\nRuns ${what}. ${SETTINGS}`)
    return 0
  }
  const servers = serversOf(env)
  const refused = command === 'start' ? undefined : refusal(command, servers)
  if (refused) {
    stderr.write(`${refused}\n`)
    return 1
  }
  const { stop, lost } = stopSignal()
  const port = portOf(env, command === 'start' ? 8081 : PORTS[command])
  let running: Running
  try {
    running = await runRoles({
      roles: command === 'start' ? ROLES : [command],
      servers,
      kafka: kafkaSettingsOf(env),
      dataFolder: dataFolderOf(env),
      migrate: command === 'start',
      host: env.HOST || '127.0.0.1',
      port,
      enforceQuota: enforceQuotaOf(env),
      defaultPlan: defaultPlanOf(env),
      allowPrivateWebhooks: allowPrivateWebhooksOf(env),
      mail: mailOf(env),
      stripeTax: stripeTaxOf(env),
      cron: cronOf(env),
      onLost: lost,
      version: productVersion(),
      logger: createLogger({ level: env.LOG_LEVEL || 'info' }),
    })
  } catch (error) {
    const known = knownTrouble(error, port)
    if (!known) throw error
    stderr.write(`${known}\n`)
    return 1
  }
  stdout.write(`Tallyline is ready at ${running.url}\n`)
  if (command === 'start') await introduce(running, stdout)
  const reason = await stop
  stdout.write(`Stopping (${reason})…\n`)
  await running.stop()
  stdout.write('Stopped.\n')
  return reason === LOST ? 1 : 0
}

async function introduce({ stores }: Running, stdout: NodeJS.WritableStream): Promise<void> {
  const { dataFolder, postgresFolder, pool, ownerUrl } = stores
  if (dataFolder) stdout.write(`Data: ${dataFolder}\n`)
  if (dataFolder && postgresFolder && !postgresFolder.startsWith(dataFolder))
    stdout.write(`Postgres: ${postgresFolder} (linked)\n`)
  // The file keeps only the fact: a key is shown once and never stored.
  const shown = dataFolder && join(dataFolder, 'development-key-shown')
  if (shown ? existsSync(shown) : await hasKeys(ownerUrl)) return
  const { key } = await createOperatorKey(pool, randomBytes)
  stdout.write(`Development key, shown this once, with every permission:\n${key}\n`)
  if (shown) writeFileSync(shown, `${new Date().toISOString()}\n`)
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
function knownTrouble(error: unknown, port: number): string | undefined {
  if (error instanceof FolderInUse) return error.message
  // chDB's own lock: a product whose Postgres died may still be stopping.
  if ((error as { code?: unknown }).code === '76') return 'Tallyline is still running on this folder: stop it first.'
  if ((error as { code?: unknown }).code === 'EADDRINUSE') return `Port ${port} is in use: set PORT to another.`
  return undefined
}
