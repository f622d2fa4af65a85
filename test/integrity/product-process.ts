import { randomBytes } from 'node:crypto'
import { progressInPostgres } from '../../invoicer/billing/run/runs.postgres.ts'
import type { Progress } from '../../invoicer/billing/run/steps.ts'
import { createOperatorKey } from '../../ops/access/create-key.ts'
import { openPool } from '../../ops/access/pool.postgres.ts'
import { runRoles } from '../../ops/cli/run-roles.ts'
import { dataFolderOf, kafkaSettingsOf, portOf, ROLES, serversOf } from '../../ops/cli/settings.ts'
import { findEmbeddedPostgres } from '../../ops/embedded/postgres.ts'
import { createLogger } from '../../ops/host/logger.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { dieUnseen } from './kill-unseen.ts'
import { bookingGateway, killingPorts } from './killing-ports.ts'
import { plantedPorts } from './planted-ports.ts'
import { type TestOrders, watchSteps } from './steps.ts'

/** The product as `start` or a role's command runs it, with ports that kill this process where the test says, or with a planted bug. */
const { control, book, roles, plant, beginsAtMs } = JSON.parse(process.env.TALLYLINE_TEST ?? '') as TestOrders
const { env } = process
const steps = watchSteps(control)
const { kafkaBrokers } = serversOf(env)
if (kafkaBrokers) dieUnseen(kafkaBrokers, steps.reach)
if (beginsAtMs !== undefined) moveClock(beginsAtMs)
const running = await runRoles({
  roles: roles ?? ROLES,
  servers: serversOf(env),
  kafka: kafkaSettingsOf(env),
  migrate: roles === undefined,
  dataFolder: dataFolderOf(env),
  host: '127.0.0.1',
  port: portOf(env),
  enforceQuota: true,
  defaultPlan: 'basic',
  cron: undefined,
  onLost: () => undefined,
  version: 'test',
  logger: createLogger({ level: env.LOG_LEVEL || 'warn' }),
  wrapPorts: (ports) => {
    const booking = { ...ports, gateway: bookingGateway(ports.gateway, book) }
    return plantedPorts(killingPorts(booking, steps, ownProgress), plant)
  },
})
process.stdout.write(`ready at ${running.url}\n`)
// A role's key comes from the command line.
if (!roles) process.stdout.write(`${(await createOperatorKey(running.stores.pool, randomBytes)).key}\n`)
process.once('SIGTERM', () => {
  running.stop().then(() => process.exit(0))
})

/** The product asks the time of this function alone. What it does every minute it does every second then. */
function moveClock(beginsAtMs: number): void {
  const [machine, aheadMs, timer] = [Date.now, beginsAtMs - Date.now(), globalThis.setTimeout]
  Date.now = () => machine() + aheadMs
  globalThis.setTimeout = new Proxy(timer, {
    apply: (target, self, [work, ms, ...args]: unknown[]) =>
      Reflect.apply(target, self, [work, ms === 60_000 ? 1_000 : ms, ...args]),
  })
}

/** What the invoicer does when no progress port is handed in, on a connection for each step. */
function ownProgress(tenantId: TenantId, runId: string): Progress {
  return async (step) => {
    const url = serversOf(env).databaseUrl ?? (await findEmbeddedPostgres(dataFolderOf(env)))
    if (!url) throw new Error('No Postgres to tell the progress to')
    const pool = openPool(url, 1, () => undefined)
    await progressInPostgres((tenant, work) => withTenant(pool, tenant, work), tenantId, runId)(step)
    await pool.end()
  }
}
