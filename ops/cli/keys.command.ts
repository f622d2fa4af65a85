import { randomBytes } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { OPERATOR_PERMISSIONS, PERMISSIONS, SCOPED_PERMISSIONS } from '../../schemas/http/permissions.ts'
import { createKey, createOperatorKey } from '../access/create-key.ts'
import { openPool } from '../access/pool.postgres.ts'
import { putTenant } from '../access/put-tenant.ts'
import { lockFolder } from '../embedded/folder-lock.postgres.ts'
import { findEmbeddedPostgres, startEmbeddedPostgres } from '../embedded/postgres.ts'
import { migratePostgres } from '../migrate/migrate.postgres.ts'
import { dataFolderOf, type Env, serversOf } from './settings.ts'

const HELP = `Usage: tallyline keys create --permissions a,b [--tenant SLUG] [--customer KEY | --subject S …]

Makes an API key of a tenant (default: 'default', made if it is new) and prints it, once. Without --tenant, a key
with billing:tenants:create or billing:keys:create is an operator key.
With --customer (external key or id) the key sees usage of that customer's subjects only, with --subject (repeated for
several) that of these subjects; it may hold ${SCOPED_PERMISSIONS.join(' and ')}, nothing else.
Works beside a running product and without one. Permissions:
  ${PERMISSIONS.join('\n  ')}
`

type Streams = { stdout: NodeJS.WritableStream; stderr: NodeJS.WritableStream }

export async function keysCommand(argv: string[], env: Env, { stdout, stderr }: Streams): Promise<number> {
  const options = {
    tenant: { type: 'string' },
    permissions: { type: 'string' },
    customer: { type: 'string' },
    subject: { type: 'string', multiple: true },
    help: { type: 'boolean' },
  } as const
  const { values, positionals } = parseArgs({ args: argv, options, allowPositionals: true })
  if (values.help || positionals[0] !== 'create' || !values.permissions) {
    ;(values.help ? stdout : stderr).write(HELP)
    return values.help ? 0 : 1
  }
  const permissions = values.permissions.split(',').map((permission) => permission.trim())
  const tenant = values.tenant ?? 'default'
  const { customer, subject: subjects } = values
  const scope = customer === undefined && subjects === undefined ? undefined : { customer, subjects }
  const key = await withPostgres(env, async (url) => {
    const pool = openPool(url, 2, () => undefined)
    try {
      // What reaches beyond one tenant only an operator key can hold, and those belong to no tenant in particular.
      const operator =
        values.tenant === undefined &&
        scope === undefined &&
        permissions.some((one) => (OPERATOR_PERMISSIONS as readonly string[]).includes(one))
      if (operator) return (await createOperatorKey(pool, randomBytes, permissions)).key
      await putTenant({ slug: tenant, grantor: 'owner' }, pool)
      return (await createKey({ tenant, permissions, scope, grantor: 'owner' }, pool, randomBytes)).key
    } finally {
      await pool.end()
    }
  })
  stdout.write(`${key}\n`)
  return 0
}

/** Uses the Postgres of the running product, or starts it for the moment when nothing runs. */
async function withPostgres<T>(env: Env, work: (url: string) => Promise<T>): Promise<T> {
  const { databaseUrl } = serversOf(env)
  if (databaseUrl) return work(databaseUrl)
  const folder = dataFolderOf(env)
  const running = await findEmbeddedPostgres(resolve(folder))
  if (running) return work(running)
  mkdirSync(folder, { recursive: true, mode: process.getuid?.() === 0 ? 0o711 : 0o700 })
  const own = await startEmbeddedPostgres(resolve(folder))
  const lock = await lockFolder(own.url, resolve(folder), () => undefined)
  try {
    await migratePostgres(own.url)
    return await work(own.url)
  } finally {
    // Without the lock a start was faster and took this server over: it is not ours to stop.
    lock?.expectEnd()
    if (lock) await own.stop()
    await lock?.release()
  }
}
