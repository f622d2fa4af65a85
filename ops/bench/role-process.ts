import type { TenantId } from '../../schemas/http/door.ts'
import { type Running, runRoles } from '../cli/run-roles.ts'
import { defaultPlanOf, type Env, kafkaSettingsOf, ROLES, type Role, serversOf } from '../cli/settings.ts'
import { productVersion } from '../cli/version.ts'
import { createLogger } from '../host/logger.ts'
import { openEdge, putCatalog } from './catalog.ts'
import { answerParent } from './child.ts'
import { jsThreadCpuUs, ownCpuUs } from './cpu.ts'
import { type WatchedPostgres, watchPostgres } from './embedded-postgres.ts'
import { memoryNow } from './memory-now.ts'

export type RoleInput = { role: Role | 'all'; env: Env; folder: string }
export type RoleStarted = { url: string; tenantId: TenantId; key: string; log: { topic: string } | undefined }

let running: Running | undefined
let postgres: WatchedPostgres | undefined

/** One role of the product, or all, in a process of its own as `tallyline ROLE` runs it, embedded or on servers. */
async function start({ role, env, folder }: RoleInput): Promise<RoleStarted> {
  running = await runRoles({
    roles: role === 'all' ? ROLES : [role],
    servers: serversOf(env),
    kafka: kafkaSettingsOf(env),
    migrate: true,
    dataFolder: folder,
    host: '127.0.0.1',
    port: 0,
    enforceQuota: true,
    defaultPlan: defaultPlanOf(env),
    cron: undefined,
    version: productVersion(),
    logger: createLogger(),
    onLost: () => process.exit(1),
  })
  const { pool, store, kafka, postgresFolder } = running.stores
  if (postgresFolder) postgres = watchPostgres(postgresFolder)
  const deps = { pool, store, now: Date.now }
  const tenantId = await putCatalog(deps)
  return { url: running.url, tenantId, key: await openEdge(deps, tenantId), log: kafka?.log }
}

async function stop(): Promise<void> {
  await running?.stop()
  await postgres?.putAway()
}

answerParent(
  {
    start: (input) => start(input as RoleInput),
    cpu: ownCpuUs,
    jsCpu: jsThreadCpuUs,
    memory: memoryNow,
  },
  stop,
)
