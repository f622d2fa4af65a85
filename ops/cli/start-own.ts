import { randomBytes } from 'node:crypto'
import { createOperatorKey } from '../access/create-key.ts'
import { createLogger } from '../host/logger.ts'
import { runRoles } from './run-roles.ts'
import { dataFolderOf, defaultPlanOf, type Env, kafkaSettingsOf, ROLES, serversOf } from './settings.ts'
import { productVersion } from './version.ts'

/** An instance on a free port and TALLYLINE_DATA with an operator key of its own; prints nothing. */
export async function startOwn(env: Env): Promise<{ url: string; apiKey: string; stop(): Promise<void> }> {
  const running = await runRoles({
    roles: ROLES,
    servers: serversOf(env),
    kafka: kafkaSettingsOf(env),
    migrate: true,
    dataFolder: dataFolderOf(env),
    host: '127.0.0.1',
    port: 0,
    enforceQuota: true,
    defaultPlan: defaultPlanOf(env),
    cron: undefined,
    onLost: () => undefined,
    version: productVersion(),
    logger: createLogger({ level: env.LOG_LEVEL || 'warn' }),
  })
  const { key } = await createOperatorKey(running.stores.pool, randomBytes)
  return { url: running.url, apiKey: key, stop: running.stop }
}
