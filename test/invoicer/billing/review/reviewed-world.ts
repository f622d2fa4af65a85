import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import type { AnomalyRules, Approval } from '../../../../invoicer/billing/review/rules.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import type { Progress } from '../../../../invoicer/billing/run/steps.ts'
import type { TestDatabase } from '../../../support/test-database.ts'
import { buildDoors } from '../../support/doors.ts'
import { memoryUsage } from '../../support/memory-usage.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, startSealer, TOO_MUCH, type World } from '../../support/world.ts'

export const DAY_MS = 86_400_000
/** A plan by which a token is a dollar. */
export const DOLLARS = {
  key: 'dollars',
  charges: [
    { key: 'use', name: 'Use', meter: 'context_tokens', price: { model: 'per_unit', unit_amount: '1' } as const },
  ],
}

/** What each subscription uses in November and in December; the second month is not billed yet. */
export const MONTHS = {
  steady: ['100', '110'],
  spike: ['100', '500'],
  drop: ['500', '100'],
  zero: ['200', '0'],
  // Its contract ends with November.
  gone: ['300', '0'],
  // It begins with December.
  fresh: ['0', '20000'],
  broken: ['50', TOO_MUCH],
}
export type Name = keyof typeof MONTHS

/** November is billed and paid; it is the second of January, and December is due. */
export async function secondMonth(database: TestDatabase, slug: string): Promise<World> {
  const world = await createWorld(database, slug)
  await world.plan(DOLLARS)
  for (const [name, [november, december]] of Object.entries(MONTHS)) {
    const startMs = name === 'fresh' ? DECEMBER : NOVEMBER
    const endMs = name === 'gone' ? DECEMBER : Date.UTC(2024, 5, 1)
    await world.subscribe(name, { plan: 'dollars', startMs, endMs })
    if (november !== '0') world.use(name, 'context_tokens', november!, NOVEMBER)
    if (december !== '0') world.use(name, 'context_tokens', december!, DECEMBER)
  }
  world.clock.nowMs = DECEMBER + DAY_MS
  await world.run()
  world.clock.nowMs = JANUARY + DAY_MS
  return world
}

export const open = (world: World, dryRun = false) =>
  world.transact(world.tenantId, async (tx) => (await openRun(tx, { asOfMs: null, dryRun }, world)).id)

export const work = (world: World, runId: string, wrap: (write: Progress) => Progress = (write) => write) =>
  runBilling({ ...world.deps }, wrap(progressInPostgres(world.transact, world.tenantId, runId)), world.tenantId, runId)

/** The doors over the world's usage and clock, with a sealer. */
export function openDoors(database: TestDatabase, world: World) {
  const usage = memoryUsage(world.events)
  const sealer = startSealer(database, world.tenantId, usage)
  const doors = buildDoors(database, { usage, now: world.now, chunkSize: 3 })
  const call = (method: 'GET' | 'POST' | 'PATCH', url: string, payload?: object) =>
    doors.call(world.tenantId, method, url, payload)
  /** The run when its runner has left it. */
  const left = async (id: unknown) => {
    for (let tries = 0; tries < 500; tries += 1) {
      const { body } = await call('GET', `/billing-runs/${id}`)
      if (body.state !== 'running') return body
      await sleep(20)
    }
    throw new Error('The run does not come to an end.')
  }
  const start = async (body: object = {}) => left((await call('POST', '/billing-runs', body)).body.id)
  const settings = (change: { approval?: Approval; rules?: Partial<AnomalyRules> }) =>
    call('PATCH', '/billing-run-settings', change)
  const close = async () => {
    await doors.invoicer.stop()
    await sealer.stop()
    await doors.app.close()
  }
  return { call, left, start, settings, close, doors }
}

/** Rows and content of every table of a database, by name. */
export async function tableDigests(database: TestDatabase): Promise<Map<string, string>> {
  const client = new pg.Client({ connectionString: database.ownerUrl })
  await client.connect()
  try {
    const { rows: tables } = await client.query<{ name: string }>(
      "SELECT tablename AS name FROM pg_tables WHERE schemaname = 'public' ORDER BY 1",
    )
    const digests = new Map<string, string>()
    for (const { name } of tables) {
      const { rows } = await client.query<{ digest: string }>(
        `SELECT count(*) || ' ' || coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') AS digest FROM "${name}" t`,
      )
      digests.set(name, rows[0]!.digest)
    }
    return digests
  } finally {
    await client.end()
  }
}

/** All rows of billed amounts: customer, period, total; of whichever run. */
export async function billed(world: World): Promise<string[]> {
  return (await world.invoices())
    .map(({ customer, periodStartMs, totalMinor }) => {
      return `${customer.externalKey} ${new Date(periodStartMs).toISOString().slice(0, 7)} ${totalMinor}`
    })
    .sort()
}

export const historyOf = async (world: World, like: string) =>
  (
    await world.transact(world.tenantId, (tx) =>
      tx.query<{ event: string; data: Record<string, unknown> }>(
        'SELECT event, data FROM billing_events WHERE event LIKE $1 ORDER BY id',
        [like],
      ),
    )
  ).rows.map(({ event, data }) => ({ event, ...data }))

/** Until a transaction of this database waits for the lock of another one. */
export async function untilSomebodyWaits(database: TestDatabase): Promise<void> {
  for (let tries = 0; tries < 1_000; tries += 1) {
    const { rows } = await database.pool.query(
      'SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE NOT l.granted AND a.datname = current_database()',
    )
    if (rows.length > 0) return
    await sleep(10)
  }
  throw new Error('Nobody waits.')
}
