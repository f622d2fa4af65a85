import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { type Guard, startGuard } from '../../../ops/stack/guard.ts'
import { startRedis } from '../../../ops/stack/redis-server.redis.ts'
import type { RedisServer } from '../../../ops/stack/server.ts'
import { type StackEnv, startStack } from '../../../ops/stack/stack.ts'
import { type Api, apiOf } from '../../support/api.ts'
import { eventually } from '../../support/product.ts'
import { openTenant } from '../catalog.ts'
import { createServersRig, type ServersRig } from './rig.ts'
import { startTcpProxy } from './tcp-proxy.ts'

export const EVENT_TYPE = 'work'
export const METER = 'size'

/** The product on servers, and in place of one Redis an address behind which servers take each other's place. */
export type OverspendWorld = {
  rig: ServersRig
  env: StackEnv
  tenant: Api
  key: string
  /** With the append-only file, as in production; and without. */
  durable: readonly RedisServer[]
  volatile: RedisServer
  /** The one that the product reaches. */
  redis(): RedisServer
  /** From now on it is this one; undefined: there is none. */
  useRedis(server: RedisServer | undefined): void
  remove(): Promise<void>
}

/** A replica asks for its copy and gets it at once. */
const REPLICATION = ['--repl-diskless-sync', 'yes', '--repl-diskless-sync-delay', '0']
export const INGESTS = ['ingest-1', 'ingest-2']

export async function openOverspendWorld(): Promise<OverspendWorld> {
  const undo: (() => Promise<unknown>)[] = []
  const remove = async () => {
    for (const step of undo.splice(0).reverse()) await step()
  }
  try {
    const stack = await startStack({ only: ['kafka', 'postgres', 'clickhouse'] })
    undo.push(() => stack.stop())
    const guard = startGuard()
    undo.push(() => guard.dismiss())
    const folder = mkdtempSync(join(tmpdir(), 'tallyline-overspend-'))
    guard.watchFolder(folder)
    undo.push(async () => rmSync(folder, { recursive: true, force: true }))
    const servers = await startServers(folder, guard)
    undo.push(() => Promise.all([...servers.durable, servers.volatile].map((server) => server.kill())))
    const [first] = servers.durable
    const proxy = await startTcpProxy(portOf(first))
    undo.push(() => proxy.close())
    const env = { ...stack.env, REDIS_URL: `redis://127.0.0.1:${proxy.port}` }
    const rig = await createServersRig(env, { processes: [...INGESTS, 'aggregator-1'] })
    undo.push(() => rig.remove())
    const key = await openTenant(apiOf(rig.url, rig.key), 'overspend')
    const tenant = apiOf(rig.url, key)
    const fields = [{ name: METER, type: 'long' }]
    await tenant.call('PUT', `/event-types/${EVENT_TYPE}`, { schema: { type: 'record', name: 'Work', fields } })
    await tenant.call('PUT', `/meters/${METER}`, { event_type: EVENT_TYPE, aggregation: 'sum', value: METER })
    let current: RedisServer = first
    return {
      ...{ rig, env, tenant, key, ...servers, remove },
      redis: () => current,
      useRedis: (server) => {
        current = server ?? current
        proxy.switchTo(server && portOf(server))
      },
    }
  } catch (error) {
    await remove()
    throw error
  }
}

async function startServers(folder: string, guard: Guard) {
  const [one, other, volatile] = await Promise.all([
    startRedis(join(folder, 'one'), guard, REPLICATION),
    startRedis(join(folder, 'other'), guard, REPLICATION),
    startRedis(join(folder, 'volatile'), guard, ['--appendonly', 'no']),
  ])
  return { durable: [one, other] as const, volatile }
}

export function portOf({ url }: RedisServer): number {
  return Number(new URL(url).port)
}

/** Of the ingest processes that are up. */
export function ingestUrls({ rig }: OverspendWorld): string[] {
  return INGESTS.flatMap((name) => rig.process(name).url() ?? [])
}

/** Sets the limit of a subject, and waits until every process knows it. */
export async function limitSubject(world: OverspendWorld, subject: string, units: number, urls: readonly string[]) {
  await world.tenant.call('PUT', `/quota/${subject}/${METER}`, { limit: String(units), window: 'month' })
  for (const url of urls) {
    const look = () => apiOf(url, world.key).send<{ limits?: unknown[] }>('GET', `/quota/${subject}`)
    await eventually(look, ({ body }) => body.limits?.length === 1)
  }
}

/** What exact usage says. */
export async function usageOf({ tenant }: OverspendWorld, subject: string): Promise<number> {
  const query = `meter=${METER}&subject=${subject}&from=2020-01-01T00:00:00Z&to=2090-01-01T00:00:00Z`
  const { total } = await tenant.call<{ total: { quantity: string } }>('GET', `/usage?${query}`)
  return Number(total.quantity)
}

/** Talks to a server directly. */
export async function askRedis<T>({ url }: RedisServer, ask: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(url)
  client.on('error', () => undefined)
  try {
    return await ask(client)
  } finally {
    client.disconnect()
  }
}

/** The key of a subject's counter; undefined while there is none. */
export async function counterKeyOf(client: Redis, subject: string): Promise<string | undefined> {
  const [key] = await client.keys(`quota:*:used:*:${subject}`)
  return key
}

/** What the counter has, held included, in units. */
export async function survivedOf(server: RedisServer, subject: string): Promise<number | 'nothing'> {
  return askRedis(server, async (client) => {
    const key = await counterKeyOf(client, subject)
    return key === undefined ? 'nothing' : Number(await client.get(key)) / 1_000_000
  })
}
