import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import type { MeteredUsage } from '../../../../invoicer/billing/usage.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, summary, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000
let database: TestDatabase
let tenants = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

async function worldOf(...names: string[]): Promise<World> {
  tenants += 1
  const world = await createWorld(database, `faults-${tenants}`)
  await world.plan()
  for (const name of names) await world.subscribe(name, { subjects: [name, `${name}-too`] })
  return world
}

const reportOf = (world: World, runId: string) => world.transact(world.tenantId, (tx) => readRun(tx, runId))
const historyOf = async (world: World, event: string) =>
  (
    await world.transact(world.tenantId, (tx) =>
      tx.query<{ data: object }>('SELECT data FROM billing_events WHERE event = $1 ORDER BY id', [event]),
    )
  ).rows.map(({ data }) => data)

describe('one customer who cannot be billed never stops the others (design §4.6)', () => {
  test('two subjects that used 6e25 each are more than a line can hold: parked before anything is stored', async () => {
    const world = await worldOf('a', 'b', 'c')
    const price = { model: 'per_unit', unit_amount: '0' } as const
    await world.plan({ key: 'free', charges: [{ key: 'all', name: 'All', meter: 'context_tokens', price }] })
    await world.subscribe('huge', { plan: 'free', subjects: ['huge', 'huge-too'] })
    for (const subject of ['huge', 'huge-too']) world.use(subject, 'context_tokens', `6${'0'.repeat(25)}`, NOVEMBER)
    const runId = await world.run()
    expect(summary(await world.invoices()).map((line) => line.slice(0, 1))).toEqual(['a', 'b', 'c'])
    expect(await reportOf(world, runId)).toMatchObject({
      state: 'completed',
      parked: [{ reason: 'The quantity of charge "all" has more digits than can be stored.' }],
    })
  })

  test('what only the database finds out is parked too, and the rest of its chunk is billed', async () => {
    const world = await worldOf('a', 'b', 'c', 'd')
    const { usage } = world.deps
    // A digest beyond numeric(39, 0): rating has no reason to look at it.
    const damaged = (answer: MeteredUsage): MeteredUsage => ({ ...answer, digest: 10n ** 40n })
    world.deps.usage = {
      ...usage,
      quantities: async (tenantId, knownBefore, requests) => {
        const answers = await usage.quantities(tenantId, knownBefore, requests)
        for (const { key, subjects } of requests) {
          if (subjects.includes('b')) answers.set(key, damaged(answers.get(key)!))
        }
        return answers
      },
    }
    const runId = await world.run()
    const invoices = await world.invoices()
    expect(
      summary(invoices)
        .map((line) => line.slice(0, 1))
        .sort(),
    ).toEqual(['a', 'c', 'd'])
    expect(invoices.map(({ number }) => number).sort()).toEqual(['INV-000001', 'INV-000002', 'INV-000003'])
    const report = await reportOf(world, runId)
    expect(report).toMatchObject({
      state: 'completed',
      invoicesCreated: 3,
      parked: [{ reason: 'Its invoice cannot be stored: numeric field overflow.' }],
    })
    expect(await historyOf(world, 'subscription.parked')).toHaveLength(1)
    world.deps.usage = usage
    await world.run()
    expect(await world.invoices()).toHaveLength(4)
  })

  test('an error that is not about data still stops the run: nobody is parked for a store that is away', async () => {
    const world = await worldOf('a')
    const { transact } = world.deps
    let away = false
    world.deps.transact = (tenantId, work) =>
      away ? Promise.reject(Object.assign(new Error('gone'), { code: '57P01' })) : transact(tenantId, work)
    const leave = (step: string) => {
      away = step === 'issue'
    }
    await expect(
      world.run(undefined, (write) => async (step) => {
        await write(step)
        leave(step)
      }),
    ).rejects.toThrow('gone')
    away = false
    expect(await historyOf(world, 'subscription.parked')).toEqual([])
    expect(await world.invoices()).toEqual([])
  })
})

describe('what is billed is what was sealed (design §4.6)', () => {
  test.each([
    ['an event is missing', (world: World) => void world.events.pop(), 'it has 1 events, the seal 2'],
    [
      'an event counts twice',
      ({ events }: World) => void events.push({ ...events[0]!, identity: 99n }),
      'it has 3 events, the seal 2',
    ],
    [
      'an event is another',
      ({ events }: World) => void events.splice(0, 1, { ...events[0]!, identity: 99n }),
      'its 2 events are others',
    ],
  ])('%s: nothing is issued, and the run goes on once the store agrees', async (_, damage, difference) => {
    const world = await worldOf('a')
    world.use('a', 'context_tokens', '1000000', NOVEMBER)
    world.use('a', 'generated_tokens', '1', NOVEMBER)
    const sound = world.events.map((event) => ({ ...event }))
    const { sleep } = world.deps
    world.deps.sleep = async (ms) => {
      await sleep(ms)
      damage(world)
    }
    const runId = await world.transact(world.tenantId, async (tx) => (await openRun(tx, { asOfMs: null }, world)).id)
    const work = () =>
      runBilling(world.deps, progressInPostgres(world.transact, world.tenantId, runId), world.tenantId, runId)
    await expect(work()).rejects.toThrow(`The usage store does not hold what was sealed: ${difference}.`)
    expect(await world.invoices()).toEqual([])
    await expect(work()).rejects.toMatchObject({ code: 'calculation_failed' })
    world.events.splice(0, world.events.length, ...sound)
    await expect(work()).resolves.toBe('completed')
    expect(summary(await world.invoices())).toEqual(['a 2023-11-01: 20.00 + 3.00 + 0.00 = 23.00 paid'])
  })
})

describe('periods whose calendar has changed since they were stored', () => {
  const store = (world: World, startMs: number, endMs: number) =>
    world.transact(world.tenantId, (tx) =>
      tx.query('UPDATE subscriptions SET next_period_start = $1, next_period_end = $2', [
        new Date(startMs),
        new Date(endMs),
      ]),
    )
  const bounds = async (world: World) =>
    (await world.invoices()).map(({ periodStartMs, periodEndMs, totalMinor }) => [
      periodStartMs,
      periodEndMs,
      totalMinor,
    ])

  test('a start that the calendar has elsewhere now is billed as it is stored, in full', async () => {
    const world = await createWorld(database, 'tz-start')
    await world.plan()
    await world.subscribe('a', { startMs: NOVEMBER - 30 * 24 * HOUR_MS, endMs: JANUARY })
    await store(world, NOVEMBER + HOUR_MS, DECEMBER)
    const runId = await world.run()
    expect(await bounds(world)).toEqual([
      [NOVEMBER + HOUR_MS, DECEMBER, 2000n],
      [DECEMBER, JANUARY, 2000n],
    ])
    expect((await reportOf(world, runId)).parked).toEqual([])
  })

  test('an end that the calendar has elsewhere now is billed; the mismatch parks, and the next run goes on', async () => {
    const world = await createWorld(database, 'tz-end')
    await world.plan()
    await world.subscribe('a', { endMs: JANUARY })
    await world.subscribe('b', { endMs: JANUARY })
    await store(world, NOVEMBER, DECEMBER + HOUR_MS)
    const runId = await world.run()
    const first = [NOVEMBER, DECEMBER + HOUR_MS, 2000n]
    expect(await bounds(world)).toEqual([first, first])
    const { state, parked } = await reportOf(world, runId)
    expect(state).toBe('completed')
    expect(parked).toHaveLength(2)
    expect(parked[0]!.reason).toContain('ends at 2023-12-01T01:00:00.000Z, but by the calendar of UTC')
    await world.run()
    expect((await bounds(world)).slice(2)).toEqual([
      [DECEMBER + HOUR_MS, JANUARY, 2000n],
      [DECEMBER + HOUR_MS, JANUARY, 2000n],
    ])
  })
})
