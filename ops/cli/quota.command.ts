import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { createPump } from '../../aggregator/pump/pump.ts'
import { listTenants } from '../../schemas/postgres/tenant.postgres.ts'
import { createLogger } from '../host/logger.ts'
import { openPorts } from './ports.ts'
import { recalculateQuotas } from './quota-recalculate.ts'
import { dataFolderOf, type Env, embeddedStores, kafkaSettingsOf, type Role, serversOf } from './settings.ts'
import { FolderInUse, openStores, type StoresOptions } from './stores.ts'
import { createUndo, type Undo } from './undo.ts'

const HELP = `Usage: tallyline quota recalculate [--tenant SLUG] [--dry-run] [--json]

Compares every quota counter that exists with usage and with what reservations and leases hold, prints those that
differ with a likely cause, and corrects them. A counter that is missing needs nothing: the next request loads it.
  --tenant SLUG   only that tenant's
  --dry-run       change nothing; the exit code is 1 if any differs
  --json          one JSON object a line: every difference, then the sums
Looks twice and takes what both looks saw, so that it may run beside a product that takes events. An event that was
drawn and could not be stored may still be sent again: its draw is taken off now. The product itself compares every
minute, and waits 49 minutes before it makes a counter lower.
Embedded stores must not be in use: stop the product first. Servers may be; then an aggregator must run.
`

/** What other processes append then is no difference. */
const SETTLE_MS = 2_000

type Streams = { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }
type Wanted = { tenant: string | undefined; dryRun: boolean; json: boolean }

export async function quotaCommand(argv: string[], env: Env, { stdout, stderr }: Streams): Promise<number> {
  const options = {
    tenant: { type: 'string' },
    'dry-run': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean' },
  } as const
  const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true })
  if (values.help || positionals.join(' ') !== 'recalculate') {
    ;(values.help ? stdout : stderr).write(HELP)
    return values.help ? 0 : 1
  }
  const servers = serversOf(env)
  const dataFolder = resolve(dataFolderOf(env))
  // Where log or usage are embedded no aggregator runs while the product stands still.
  const roles: Role[] = servers.kafkaBrokers && servers.clickhouseUrl ? ['ingest'] : ['ingest', 'aggregator']
  const embedded = embeddedStores(roles, servers).filter((store) => store !== 'databaseUrl')
  const folder = embedded.includes('clickhouseUrl') ? 'clickhouse' : 'log'
  if (embedded.length > 0 && !existsSync(join(dataFolder, folder))) {
    stderr.write(`There is no data in ${dataFolder}: set TALLYLINE_DATA to the folder of the product.\n`)
    return 1
  }
  const logger = createLogger({ level: env.LOG_LEVEL || 'warn' })
  const undo = createUndo(logger)
  const means = { roles, servers, kafka: kafkaSettingsOf(env), dataFolder, logger }
  const wanted = { tenant: values.tenant, dryRun: values['dry-run'], json: values.json }
  try {
    return await recalculate({ ...means, migrate: false, onLost: () => undefined }, wanted, { stdout, stderr }, undo)
  } catch (error) {
    if (!(error instanceof FolderInUse)) throw error
    stderr.write(`${error.message}\n`)
    return 1
  } finally {
    await undo.run()
  }
}

async function recalculate(
  options: StoresOptions,
  { tenant: slug, dryRun, json }: Wanted,
  { stdout, stderr }: Streams,
  undo: Undo,
): Promise<number> {
  const stores = await openStores(options, undo)
  const tenant = (await listTenants(stores.pool)).find((one) => one.slug === slug)
  if (slug !== undefined && !tenant) {
    stderr.write(`There is no tenant ${slug}.\n`)
    return 1
  }
  const now = Date.now
  const { writer, quota, reader, store, reads } = await openPorts(options, stores, now, undo)
  if (!writer || !quota) throw new Error('A port that ingest needs was not opened: this is a bug in openPorts')
  if (reader) {
    // What the product appended last may not be in usage yet.
    const pump = createPump({ reader, store, logger: options.logger, now })
    undo.add(() => pump.stop())
    await pump.start()
  }
  return recalculateQuotas(
    { pool: stores.pool, quota, usage: reads, writer, now, stdout, stderr },
    // Beside nothing that runs nothing is under way.
    { tenant: tenant?.tenantId, dryRun, json, settleMs: reader ? 0 : SETTLE_MS },
  )
}
