import { randomBytes } from 'node:crypto'
import { existsSync, rmSync } from 'node:fs'
import { createOperatorKey } from '../../../ops/access/create-key.ts'
import { runRoles } from '../../../ops/cli/run-roles.ts'
import { dataFolderOf, kafkaSettingsOf, portOf, ROLES, serversOf } from '../../../ops/cli/settings.ts'
import { createLogger } from '../../../ops/host/logger.ts'

/**
 * The product as `start` runs it, which dies by SIGKILL between a hold and its answer while the file that
 * TALLYLINE_TEST names is there. It takes the file away before: that shows that it got there.
 */
const { env } = process
const file = env.TALLYLINE_TEST ?? ''
const running = await runRoles({
  roles: ROLES,
  servers: serversOf(env),
  kafka: kafkaSettingsOf(env),
  migrate: true,
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
    const { quota } = ports
    if (!quota) throw new Error('Ingest runs without counters')
    const hold: typeof quota.hold = async (...args) => {
      const answer = await quota.hold(...args)
      if (!existsSync(file) || !('hold' in answer)) return answer
      rmSync(file)
      process.kill(process.pid, 'SIGKILL')
      return answer
    }
    return { ...ports, quota: { ...quota, hold } }
  },
})
process.stdout.write(`ready at ${running.url}\n${(await createOperatorKey(running.stores.pool, randomBytes)).key}\n`)
process.once('SIGTERM', () => {
  running.stop().then(() => process.exit(0))
})
