import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openPool } from '../../access/pool.postgres.ts'
import { type Child, startChild } from '../child.ts'
import { type Gauge, treeGauge } from '../cpu.ts'
import { ownEnv } from '../database.postgres.ts'
import { METERS } from '../events.ts'
import { type FigureInput, serversIn } from '../figure.ts'
import { createTenant } from '../invoicer/world.postgres.ts'
import type { RoleInput, RoleStarted } from '../role-process.ts'
import { askUsage } from './ask-usage.ts'
import { type Gate, openGate } from './gate.ts'
import type { LoadDone, LoadOrder } from './load-process.ts'

/** The product as it runs: ingest and aggregator as processes of their own, or everything embedded in one. */
export type World = {
  /** By the name that a figure shows; embedded there is one. */
  roles: Record<string, Child>
  /** CPU of what an event costs behind the edge. */
  gauges: Record<string, Gauge>
  started: RoleStarted
  /** Where usage is asked for. */
  usageUrl: string
  /** Before ClickHouse, where somebody asked for it. */
  gate: Gate | undefined
  load(order: Omit<LoadOrder, 'url' | 'key'>): Promise<LoadDone>
  stop(): Promise<void>
}

const PARTITIONS = 12
/** Figures that take ClickHouse away for a while. */
const GATED = ['memory']
const COUNTED_WITHIN_MS = 10 * 60_000

/**
 * Works in a world of its own. In a smoke run, whose figures mean nothing, the worlds of a process are one and the
 * same: it stays until `stopKeptWorld`.
 */
export async function withWorld<T>(input: FigureInput, name: string, work: (world: World) => Promise<T>): Promise<T> {
  if (input.sizes.oneWorld) {
    kept ??= await openWorld(input, name)
    return work(kept)
  }
  const world = await openWorld(input, name)
  try {
    return await work(world)
  } finally {
    await world.stop()
  }
}
let kept: World | undefined

export async function stopKeptWorld(): Promise<void> {
  await kept?.stop()
}

/** On servers: with a database, a tenant and a log of its own. */
async function openWorld(input: FigureInput, name: string): Promise<World> {
  const { folder, servers, sizes, figure } = input
  const children: Child[] = []
  const gated = servers && (GATED.includes(figure) || sizes.oneWorld)
  const gate = gated ? await openGate(servers.env.CLICKHOUSE_URL) : undefined
  const start = (script: string, log: string) => {
    const child = startChild(new URL(script, import.meta.url), join(folder, `${name}-${log}.log`))
    children.push(child)
    return child
  }
  const stop = async () => {
    for (const child of children.reverse()) await child.stop()
    await gate?.close()
  }
  try {
    const load = start('./load-process.ts', 'load')
    const roles = servers ? await startRoles(input, start, gate?.url) : await startAll(folder, name, start)
    const { url, key } = roles.started
    return { ...roles, gate, load: (order) => load.ask<LoadDone>('send', { ...order, url, key }), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

type Roles = Pick<World, 'roles' | 'gauges' | 'started' | 'usageUrl'>
type Start = (script: string, log: string) => Child
const SCRIPT = '../role-process.ts'

async function startRoles(input: FigureInput, start: Start, clickhouseUrl: string | undefined): Promise<Roles> {
  const servers = serversIn(input)
  const own = await ownEnv(servers)
  const pool = openPool(own.DATABASE_URL, 1, () => undefined)
  await createTenant(pool, own.DATABASE_URL)
  await pool.end()
  const clickhouse = clickhouseUrl ?? own.CLICKHOUSE_URL
  const env = { ...own, CLICKHOUSE_URL: clickhouse, KAFKA_PARTITIONS: String(PARTITIONS) }
  const role = async (name: 'aggregator' | 'ingest'): Promise<[Child, RoleStarted]> => {
    const child = start(SCRIPT, name)
    const wanted: RoleInput = { role: name, env, folder: join(input.folder, name) }
    return [child, await child.ask<RoleStarted>('start', wanted)]
  }
  const [aggregator, asked] = await role('aggregator')
  const [ingest, started] = await role('ingest')
  const clickhouseCpu = treeGauge(servers.pids.clickhouse)
  const aggregatorCpu = () => aggregator.ask<number>('cpu')
  const gauges = {
    'aggregator and ClickHouse': async () => (await aggregatorCpu()) + ((await clickhouseCpu?.()) ?? 0),
    aggregator: aggregatorCpu,
    ingest: () => ingest.ask<number>('cpu'),
  }
  return { roles: { ingest, aggregator }, gauges, started, usageUrl: asked.url }
}

async function startAll(folder: string, name: string, start: Start): Promise<Roles> {
  const all = start(SCRIPT, 'all')
  const started = await all.ask<RoleStarted>('start', { role: 'all', env: {}, folder: join(folder, name) })
  const gauges = { 'everything embedded': () => all.ask<number>('cpu') }
  return { roles: { 'everything embedded': all }, gauges, started, usageUrl: started.url }
}

/** Events of everything that is counted now. */
export async function countedNow(world: World): Promise<number> {
  return (await askUsage(world, { meter: METERS[0] ?? '' })).events
}

/** Waits until so many events are counted, and fails when it is another number in the end: none lost, none twice. */
export async function untilCounted(world: World, events: number): Promise<void> {
  const endMs = Date.now() + COUNTED_WITHIN_MS
  for (let counted = -1; counted !== events; await sleep(500)) {
    counted = await countedNow(world)
    if (counted > events) throw new Error(`${counted} events are counted, and ${events} were sent`)
    if (counted < events && Date.now() > endMs) throw new Error(`${counted} events of ${events} are counted at the end`)
  }
}
