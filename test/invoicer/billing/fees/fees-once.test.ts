import { afterAll, beforeAll, expect, test } from 'vitest'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../../invoicer/billing/run/runs.postgres.ts'
import { type Progress, RUN_STEPS } from '../../../../invoicer/billing/run/steps.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { HOUR_MS } from '../../agreements/subscriptions/changing-world.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { createFeesWorld, type FeesWorld, HALF_DECEMBER } from './fees-world.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const NAMES = ['a', 'b', 'c', 'd', 'e']

/** Five of which one has its first fee due as December begins, one was upgraded and one cancelled; it is January. */
async function busy(): Promise<FeesWorld> {
  worlds += 1
  const world = await createFeesWorld(database, `once-${worlds}`)
  await world.ahead('small', '100.00')
  await world.ahead('large', '300.00')
  for (const name of NAMES) {
    await world.subscribe(name, { plan: 'small', startMs: name === 'd' ? JANUARY : NOVEMBER, endMs: null })
  }
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  world.clock.nowMs = HALF_DECEMBER
  await world.toPlan('b', 'large')
  await world.change('c', { cancel: 'now' })
  world.clock.nowMs = JANUARY + 2 * HOUR_MS
  return world
}

async function expectBilledOnce(world: FeesWorld): Promise<void> {
  const last = (await world.billed()).slice(2 * (NAMES.length - 1)).sort()
  expect(last).toEqual([
    '01-01 small base 100.00 = 100.00',
    '01-01 small base 100.00 = 100.00',
    '01-01 small base 100.00 = 100.00',
    '12-01 small base -50.00 = -50.00',
    '12-01 small base -50.00, 12-16 large base 150.00, 01-01 large base 300.00 = 400.00',
  ])
  const { rows } = await world.transact(world.tenantId, (tx) =>
    tx.query<{ n: number; sum: string }>('SELECT count(*)::integer AS n, sum(amount_minor) AS sum FROM billed_fees'),
  )
  expect(rows).toEqual([{ n: 8 + 7, sum: String(80_000 + 65_000) }])
}

const open = (world: FeesWorld) =>
  world.transact(world.tenantId, async (tx) => (await openRun(tx, { asOfMs: null }, world)).id)
const work = (world: FeesWorld, runId: string, wrap: (write: Progress) => Progress = (write) => write) =>
  runBilling(world.deps, wrap(progressInPostgres(world.transact, world.tenantId, runId)), world.tenantId, runId)

/** EPIC-3; C4: upgraded, invoice retried, two runners at once: each period billed once. */
test('four runners of one run, and four runs at once, bill each fee once', async () => {
  const [one, other] = [await busy(), await busy()]
  const runId = await open(one)
  await Promise.all([1, 2, 3, 4].map(() => work(one, runId)))
  await expectBilledOnce(one)
  await Promise.all([1, 2, 3, 4].map(() => other.run()))
  await expectBilledOnce(other)
  expect(await other.wrong()).toEqual([])
})

/** A crash is an error at a place from where nothing more is done. */
test.each([...RUN_STEPS])('a run that dies at %s is continued, and bills each fee once', async (step) => {
  const world = await busy()
  const runId = await open(world)
  const dying = (write: Progress): Progress => {
    return async (begun) => {
      await write(begun)
      if (begun === step) throw new Error('killed')
    }
  }
  await expect(work(world, runId, dying)).rejects.toThrow('killed')
  await expect(work(world, runId)).resolves.toBe('completed')
  await expectBilledOnce(world)
})

/** Another process billed the fee that was due between reading and storing: what it billed counts. */
test('fees that another run bills meanwhile are not billed again, and the period behind them is', async () => {
  const world = await busy()
  await world.toPlan('d', 'large')
  world.clock.nowMs += 31 * 24 * HOUR_MS
  const { usage } = world.deps
  let asked = 0
  world.deps.usage = {
    ...usage,
    quantities: async (...question) => {
      asked += 1
      if (asked === 1) await world.run(JANUARY + 2 * HOUR_MS)
      return usage.quantities(...question)
    },
  }
  await world.run()
  const ofD = (await world.invoices()).filter(({ customer }) => customer.externalKey === 'd')
  expect(ofD.flatMap(({ lines }) => lines).map(({ amountMinor }) => amountMinor)).toEqual([27n, 29_919n, 30_000n])
})
