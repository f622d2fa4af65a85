import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Invoice } from '../../../../invoicer/billing/invoices/invoice.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import type { RunStep } from '../../../../invoicer/billing/run/steps.ts'
import type { Transact } from '../../../../invoicer/transaction.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { HOUR_MS } from '../../agreements/subscriptions/changing-world.ts'
import { change } from '../../collection/voids/void-world.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { createFeesWorld, type FeesWorld, HALF_DECEMBER } from './fees-world.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Invoices that nobody paid: the first fee, and November with the fee of December. */
async function opened(): Promise<FeesWorld> {
  worlds += 1
  const world = await createFeesWorld(database, `void-fees-${worlds}`)
  world.deps.collect = async () => true
  await world.ahead('small', '100.00')
  await world.ahead('large', '300.00')
  world.clock.nowMs = NOVEMBER
  await world.subscribe('a', { plan: 'small', endMs: null })
  await world.run()
  await world.runAt(DECEMBER + 2 * HOUR_MS)
  return world
}
const ofDecember = async (world: FeesWorld): Promise<Invoice> =>
  (await world.invoices()).find(({ offCycle, state }) => !offCycle && state !== 'void')!
const living = async (world: FeesWorld) =>
  (await world.invoices())
    .filter(({ state }) => state !== 'void')
    .flatMap(({ lines }) => lines.map(({ amountMinor }) => amountMinor))
    .sort((a, b) => Number(a - b))

test('an invoice that is issued anew bills the fees of the void one again, and nobody else does', async () => {
  const world = await opened()
  await change(world, (await ofDecember(world)).id, 'reissue')
  world.clock.nowMs += HOUR_MS
  await world.run()
  expect(await living(world)).toEqual([10_000n, 10_000n])
  expect((await ofDecember(world)).lines).toHaveLength(1)
  await world.runAt(JANUARY + 2 * HOUR_MS)
  expect(await living(world)).toEqual([10_000n, 10_000n, 10_000n])
  expect(await world.wrong()).toEqual([])
})

test('issued anew after a change, it bills the fee as it is by then', async () => {
  const world = await opened()
  world.clock.nowMs = HALF_DECEMBER
  await world.toPlan('a', 'large')
  await change(world, (await ofDecember(world)).id, 'reissue')
  world.clock.nowMs += HOUR_MS
  await world.run()
  expect(await living(world)).toEqual([5_000n, 10_000n, 15_000n])
  await world.runAt(JANUARY + 2 * HOUR_MS)
  expect(await living(world)).toEqual([5_000n, 10_000n, 15_000n, 30_000n])
  expect(await world.wrong()).toEqual([])
})

test('fees of an invoice that is void for good are billed with the period, once', async () => {
  const world = await opened()
  await change(world, (await ofDecember(world)).id, 'void')
  const { draft } = await world.preview('a')
  expect(draft.lines.map(({ amountMinor }) => amountMinor)).toEqual([10_000n, 10_000n])
  await world.runAt(JANUARY + 2 * HOUR_MS)
  expect(await living(world)).toEqual([10_000n, 10_000n, 10_000n])
  await world.runAt(JANUARY + 3 * HOUR_MS)
  expect(await living(world)).toHaveLength(3)
  expect(await world.wrong()).toEqual([])
})

test('an invoice whose fees were settled by a later one is not voided any more', async () => {
  const world = await opened()
  const { id } = await ofDecember(world)
  world.clock.nowMs = HALF_DECEMBER
  await world.change('a', { cancel: 'now' })
  await world.runAt(HALF_DECEMBER + 2 * HOUR_MS)
  await expect(change(world, id, 'void')).rejects.toMatchObject({
    code: 'illegal_state',
    message: expect.stringContaining('settled since'),
  })
  expect(await living(world)).toEqual([-5_000n, 10_000n, 10_000n])
})

test('an invoice whose fees the next one counts on is not voided for good, but issued anew', async () => {
  const world = await opened()
  const { id } = await ofDecember(world)
  await world.runAt(JANUARY + 2 * HOUR_MS)
  await expect(change(world, id, 'void')).rejects.toMatchObject({
    code: 'illegal_state',
    message: expect.stringContaining('reissue it'),
  })
  const [first] = (await world.invoices()).filter(({ offCycle }) => offCycle)
  await expect(change(world, first!.id, 'void')).rejects.toThrow('was billed since: give them back by a credit note')
  expect(await living(world)).toEqual([10_000n, 10_000n, 10_000n])
  await change(world, id, 'reissue')
  await world.runAt(JANUARY + 3 * HOUR_MS)
  expect(await living(world)).toEqual([10_000n, 10_000n, 10_000n])
  expect(await world.wrong()).toEqual([])
})

test('a void invoice that settled fees is explained and verified as before, also behind the one in its place', async () => {
  const world = await opened()
  world.clock.nowMs = HALF_DECEMBER
  await world.toPlan('a', 'large')
  await world.runAt(JANUARY + 2 * HOUR_MS)
  const isSettling = ({ breakdown }: Invoice['lines'][number]) => breakdown[0]?.type === 'fee_difference'
  const december = (await world.invoices()).find(({ lines }) => lines.some(isSettling))!
  world.clock.nowMs += HOUR_MS
  await change(world, december.id, 'reissue')
  expect(await world.wrong()).toEqual([])
  world.clock.nowMs += HOUR_MS
  await world.run()
  expect((await world.invoices()).map(({ state }) => state)).toContain('void')
  expect(await world.wrong()).toEqual([])
})

/** Whatever is stored last was rated before the other one was there. */
test.each(['the next period', 'the void invoice again'])(
  'of two runs at once the fees are billed once, where the one that bills %s is the slower',
  async (slower) => {
    const world = await opened()
    const { id } = await ofDecember(world)
    await change(world, id, 'void')
    world.clock.nowMs = JANUARY + 2 * HOUR_MS
    const open = () => world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: null }, world))
    const next = await open()
    world.clock.nowMs += 1
    await change(world, id, 'reissue')
    world.clock.nowMs += HOUR_MS
    const again = await open()
    // The run that bills again is killed behind that: the next period is left to the other one.
    const runNext = (deps = world.deps) => runBilling(deps, async () => undefined, world.tenantId, next.id)
    const dying = async (step: RunStep) => {
      if (step === 'late-usage') throw new Error('killed')
    }
    const runAgain = (deps = world.deps) =>
      expect(runBilling(deps, dying, world.tenantId, again.id)).rejects.toThrow('killed')
    const [slow, quick] = slower === 'the next period' ? [runNext, runAgain] : [runAgain, runNext]
    let isMet = false
    const transact: Transact = async (tenantId, work) => {
      const answer = await world.transact(tenantId, work)
      // Behind the rating, before anything of it is stored.
      if (!isMet && typeof answer === 'object' && answer !== null && 'discountsOf' in answer) {
        isMet = true
        await quick()
      }
      return answer
    }
    await slow({ ...world.deps, transact })
    expect(isMet).toBe(true)
    expect(await living(world)).toEqual([10_000n, 10_000n, 10_000n])
    expect(await world.wrong()).toEqual([])
  },
)

/** Read with the fee as billed: as it is stored, that is void. */
test('an invoice that is voided while a run rates the next one is not taken for billed', async () => {
  const world = await opened()
  const { id } = await ofDecember(world)
  world.clock.nowMs = JANUARY + 2 * HOUR_MS
  const { transact } = world.deps
  let voided = false
  world.deps.transact = async (tenantId, work) => {
    const answer = await transact(tenantId, work)
    // Behind the reading of what is due, as if somebody had been quicker than the run.
    const isDue = !voided && typeof answer === 'object' && answer !== null && 'due' in answer
    if (isDue) {
      voided = true
      await change(world, id, 'void')
    }
    return answer
  }
  await world.run()
  expect(voided).toBe(true)
  expect(await living(world)).toEqual([10_000n, 10_000n, 10_000n])
  expect(await world.wrong()).toEqual([])
})
