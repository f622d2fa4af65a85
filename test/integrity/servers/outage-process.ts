import { runRoles } from '../../../ops/cli/run-roles.ts'
import { dataFolderOf, kafkaSettingsOf, portOf, type Role, serversOf } from '../../../ops/cli/settings.ts'
import { createLogger } from '../../../ops/host/logger.ts'
import { bookingGateway } from '../killing-ports.ts'
import { type OutagePlant, outagePorts } from './outage-plants.ts'

/** What a test tells the process, in the variable TALLYLINE_OUTAGE as JSON. */
export type OutageOrders = { role: Role; book: string; plant?: OutagePlant; cron?: string }

/** A role as its command runs it, with a planted bug in its ports or with a schedule. */
const { role, book, plant, cron } = JSON.parse(process.env.TALLYLINE_OUTAGE ?? '') as OutageOrders
const { env } = process
const servers = serversOf(env)
const running = await runRoles({
  roles: [role],
  servers,
  kafka: kafkaSettingsOf(env),
  migrate: false,
  dataFolder: dataFolderOf(env),
  host: '127.0.0.1',
  port: portOf(env),
  enforceQuota: true,
  defaultPlan: 'basic',
  cron,
  onLost: () => undefined,
  version: 'test',
  logger: createLogger({ level: env.LOG_LEVEL || 'warn' }),
  wrapPorts: (ports) => {
    const booking = { ...ports, gateway: bookingGateway(ports.gateway, book) }
    return plant ? outagePorts(booking, plant, servers.kafkaBrokers ?? []) : booking
  },
})
process.stdout.write(`ready at ${running.url}\n`)
process.once('SIGTERM', () => {
  running.stop().then(() => process.exit(0))
})
