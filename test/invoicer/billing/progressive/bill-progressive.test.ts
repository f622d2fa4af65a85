import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { CreatePlan } from '../../../../invoicer/agreements/plans/create-plan.ts'
import { changeSubscription } from '../../../../invoicer/agreements/subscriptions/change-subscription.ts'
import { isDowngrade } from '../../../../invoicer/billing/is-downgrade.ts'
import { draftPreviews } from '../../../../invoicer/billing/preview/draft-previews.ts'
import { periodHolding } from '../../../../invoicer/billing/preview/period-holding.ts'
import { previewInvoice } from '../../../../invoicer/billing/preview/preview-invoice.ts'
import { listToRate } from '../../../../invoicer/billing/preview/to-rate.postgres.ts'
import { putThreshold } from '../../../../invoicer/billing/progressive/change-threshold.ts'
import { isProgressDue } from '../../../../invoicer/billing/progressive/is-progress-due.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { loadPlans } from '../../../../invoicer/billing/run/billable-plans.ts'
import { openRun } from '../../../../invoicer/billing/run/open-run.ts'
import { readRun } from '../../../../invoicer/billing/run/read-run.ts'
import { runBilling } from '../../../../invoicer/billing/run/run-billing.ts'
import { type Progress, RUN_STEPS } from '../../../../invoicer/billing/run/steps.ts'
import { readCreditNotes } from '../../../../invoicer/collection/credit-notes/issue-credit-note.ts'
import { changeInvoice } from '../../../../invoicer/collection/voids/change-invoice.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, TOO_MUCH, type World } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** R1 of billing-cases.md. */
const R1 = {
  model: 'graduated',
  tiers: [
    { up_to: '10', unit_amount: '10', flat_amount: '2' },
    { up_to: '20', unit_amount: '5', flat_amount: '3' },
    { up_to: null, unit_amount: '5', flat_amount: '3' },
  ],
}

/** `a` is on the price from November on, with a threshold of 50.00. */
type ProgressiveWorld = World & { id: string }
async function shop(
  price: object = R1,
  threshold = '50.00',
  endMs: number | null = null,
  plan: Partial<CreatePlan<Price>> = {},
): Promise<ProgressiveWorld> {
  worlds += 1
  const world = await createWorld(database, `progressive-${worlds}`)
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price: price as never }], ...plan })
  const id = await world.subscribe('a', { endMs })
  world.clock.nowMs = NOVEMBER
  await world.transact(world.tenantId, (tx) => putThreshold(tx, { subscription: 'a', threshold }, world))
  return { ...world, id }
}

const use = (world: World, quantity: string, atMs: number) => world.use('a', 'context_tokens', quantity, atMs)
const runAt = (world: World, atMs: number) => {
  world.clock.nowMs = atMs
  return world.run()
}
const change = (world: World, what: Parameters<typeof changeSubscription>[2]) =>
  world.transact(world.tenantId, (tx) => changeSubscription(tx, 'a', what, null, { ...world, isDowngrade }))
const changed = (world: World, invoiceId: string, what: 'void' | 'reissue') =>
  world.transact(world.tenantId, (tx) =>
    changeInvoice(tx, { invoiceId, change: what, reason: 'wrong', idempotencyKey: what }, world),
  )
const money = (minor: bigint) => formatMoney(minor, 'USD')
async function invoices(world: World) {
  return (await world.invoices()).map(({ lines, totalMinor, offCycle }) => [
    ...lines.map(({ description, amountMinor }) => `${description} ${money(amountMinor)}`),
    `${offCycle ? 'beside' : 'period'} ${money(totalMinor)}`,
  ])
}
const LESS = 'Use (less what was billed in the period)'

describe('a period with a threshold', () => {
  test('has invoices inside of it, each of price(all so far) − Σ billed, and its own bills the rest (R1)', async () => {
    const world = await shop()
    use(world, '4', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    // 42.00 is below the threshold.
    expect(await invoices(world)).toEqual([])
    use(world, '1', NOVEMBER + 3 * DAY_MS)
    await runAt(world, NOVEMBER + 4 * DAY_MS)
    await runAt(world, NOVEMBER + 4 * DAY_MS + HOUR_MS)
    use(world, '7', NOVEMBER + 5 * DAY_MS)
    await runAt(world, NOVEMBER + 6 * DAY_MS)
    use(world, '9', NOVEMBER + 7 * DAY_MS)
    await runAt(world, NOVEMBER + 8 * DAY_MS)
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    await runAt(world, DECEMBER + 3 * HOUR_MS)
    expect(await invoices(world)).toEqual([
      ['Use 52.00', 'beside 52.00'],
      ['Use 115.00', `${LESS} -52.00`, 'beside 63.00'],
      ['Use 163.00', `${LESS} -115.00`, 'period 48.00'],
    ])
    expect(world.charged.map(({ amountMinor }) => money(amountMinor))).toEqual(['52.00', '63.00', '48.00'])
  })

  test('is shown by the preview as what is left, and by a budget as all of it', async () => {
    const world = await shop()
    use(world, '12', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    use(world, '9', NOVEMBER + 3 * DAY_MS)
    world.clock.nowMs = NOVEMBER + 4 * DAY_MS
    const asked = { subscription: 'a', atMs: null, change: null }
    const { draft } = await previewInvoice(world.deps, world.tenantId, asked)
    expect(draft.lines.map(({ amountMinor }) => money(amountMinor))).toEqual(['163.00', '-115.00'])
    const [subscription] = await world.transact(world.tenantId, (tx) => listToRate(tx, [world.id]))
    const planOf = await loadPlans(world.transact, world.tenantId, new Map(), [subscription!.planId])
    const spend = [
      { subscription: subscription!, period: periodHolding(subscription!, NOVEMBER)!, asSpend: true as const },
    ]
    const { now, tenantId, deps } = world
    const [spent] = await draftPreviews(deps.usage, tenantId, now(), spend, planOf, () => undefined)
    expect(spent).toMatchObject({ totalMinor: 16_300n })
  })

  test('has no invoice of fees, minimums and commitments: those come with its own', async () => {
    const world = await shop({ model: 'per_unit', unit_amount: '10', minimum_amount: '200' })
    use(world, '6', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    use(world, '4', NOVEMBER + 3 * DAY_MS)
    await runAt(world, NOVEMBER + 4 * DAY_MS)
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    expect(await invoices(world)).toEqual([
      ['Use 60.00', 'beside 60.00'],
      ['Use 100.00', 'Use (minimum) 100.00', `${LESS} -60.00`, 'period 140.00'],
    ])
  })

  test('leaves fees in advance where they are: the first as they are due, the next with its own invoice', async () => {
    const world = await shop(R1, '50.00', null, {
      fees: 'in_advance',
      charges: [
        { key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount: '20' } },
        { key: 'use', name: 'Use', meter: 'context_tokens', price: R1 as never },
      ],
    })
    use(world, '12', NOVEMBER + HOUR_MS)
    await runAt(world, NOVEMBER + DAY_MS)
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    expect(await invoices(world)).toEqual([
      ['Base 20.00', 'beside 20.00'],
      ['Use 115.00', 'beside 115.00'],
      ['Base 20.00', 'Use 115.00', `${LESS} -115.00`, 'period 20.00'],
    ])
  })

  test('that comes to less in the end gives back what was billed too much', async () => {
    const world = await shop({ model: 'per_unit', unit_amount: '10' })
    use(world, '9', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    use(world, '-4', NOVEMBER + DAY_MS + HOUR_MS)
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    expect(await invoices(world)).toEqual([
      ['Use 90.00', 'beside 90.00'],
      ['Use 50.00', `${LESS} -90.00`, 'period -40.00'],
    ])
  })

  test('is billed up to its end when it is cancelled now, and flat amounts for the part that was served', async () => {
    const world = await shop()
    use(world, '12', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    world.clock.nowMs = NOVEMBER + 15 * DAY_MS
    await change(world, { cancel: 'now' })
    await runAt(world, NOVEMBER + 16 * DAY_MS)
    // 10 × 10 + 2 × 5, and half of 2 + 3.
    expect((await invoices(world)).slice(1)).toEqual([['Use 112.50', `${LESS} -115.00`, 'period -2.50']])
  })

  test('that is cut by a change of plan is billed by both, less what the one before billed', async () => {
    const world = await shop()
    await world.plan({
      key: 'other',
      charges: [{ key: 'use', name: 'Other', meter: 'context_tokens', price: { model: 'per_unit', unit_amount: '1' } }],
    })
    use(world, '12', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    world.clock.nowMs = NOVEMBER + 15 * DAY_MS
    await change(world, { plan: 'other', when: 'now' })
    use(world, '60', NOVEMBER + 16 * DAY_MS)
    await runAt(world, NOVEMBER + 17 * DAY_MS)
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    expect(await invoices(world)).toEqual([
      ['Use 115.00', 'beside 115.00'],
      // 112.50 + 60.00 − 115.00 = 57.50, which is 50.00 or more.
      ['Use 112.50', 'Other 60.00', `${LESS} -115.00`, 'beside 57.50'],
      [
        'Use 112.50',
        'Other 60.00',
        `${LESS} -112.50`,
        'Other (less what was billed in the period) -60.00',
        'period 0.00',
      ],
    ])
  })
})

describe('what comes behind a period with progressive invoices', () => {
  test('is billed as the difference to all that was billed of it', async () => {
    const world = await shop()
    use(world, '12', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    world.use('a', 'context_tokens', '9', NOVEMBER + 3 * DAY_MS, DECEMBER + DAY_MS)
    await runAt(world, DECEMBER + 2 * DAY_MS)
    await runAt(world, JANUARY + 2 * HOUR_MS)
    expect((await invoices(world)).slice(1)).toEqual([
      ['Use 115.00', `${LESS} -115.00`, 'period 0.00'],
      ['Use 2.00', 'Use (late usage, 2023-11-01 to 2023-11-30) 48.00', 'period 50.00'],
    ])
  })

  test('is given back by credit notes on whichever invoice billed it, the newest first', async () => {
    const world = await shop()
    use(world, '12', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    use(world, '9', NOVEMBER + 3 * DAY_MS)
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    world.use('a', 'context_tokens', '-20', NOVEMBER + 4 * DAY_MS, DECEMBER + DAY_MS)
    await runAt(world, DECEMBER + 2 * DAY_MS)
    const notes = []
    for (const { id, totalMinor } of await world.invoices()) {
      const own = await world.transact(world.tenantId, (tx) => readCreditNotes(tx, id))
      notes.push([money(totalMinor), ...own.map((note) => money(note.totalMinor))])
    }
    // 163.00 billed, 12.00 now: 48.00 of the period's own, 103.00 of the one inside of it.
    expect(notes).toEqual([
      ['115.00', '103.00'],
      ['48.00', '48.00'],
    ])
  })

  test('finds the period as it was, when its own invoice is void and issued anew', async () => {
    const world = await shop()
    use(world, '12', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    use(world, '9', NOVEMBER + 3 * DAY_MS)
    // Whoever pays nothing may be given a void invoice.
    world.deps.collect = async () => true
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    const [, own] = await world.invoices()
    world.clock.nowMs += HOUR_MS
    await changed(world, own!.id, 'reissue')
    await runAt(world, DECEMBER + 5 * HOUR_MS)
    expect((await invoices(world)).slice(1)).toEqual([
      ['Use 163.00', `${LESS} -115.00`, 'period 48.00'],
      ['Use 163.00', `${LESS} -115.00`, 'period 48.00'],
    ])
  })
})

describe('a progressive invoice', () => {
  test('that is void is billed by the next one, but not once a later one has less by it', async () => {
    const world = await shop()
    world.deps.collect = async () => true
    use(world, '5', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    use(world, '7', NOVEMBER + 3 * DAY_MS)
    await runAt(world, NOVEMBER + 4 * DAY_MS)
    const [first, second] = await world.invoices()
    await expect(changed(world, first!.id, 'void')).rejects.toThrow('A later invoice of its period is less by')
    await changed(world, second!.id, 'void')
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    expect((await invoices(world)).slice(2)).toEqual([['Use 115.00', `${LESS} -52.00`, 'period 63.00']])
    await expect(changed(world, first!.id, 'void')).rejects.toThrow('A later invoice of its period is less by')
  })

  test('that was voided while the invoice of its period was rated is not taken off that', async () => {
    const world = await shop()
    world.deps.collect = async () => true
    use(world, '12', NOVEMBER + DAY_MS)
    await runAt(world, NOVEMBER + 2 * DAY_MS)
    const [inside] = await world.invoices()
    const { usage } = world.deps
    let voided = false
    world.deps.usage = {
      ...usage,
      quantities: async (...question) => {
        if (!voided) await changed(world, inside!.id, 'void')
        voided = true
        return usage.quantities(...question)
      },
    }
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    expect((await invoices(world)).slice(1)).toEqual([['Use 115.00', 'period 115.00']])
  })

  test('that another run issued while the invoice of its period was rated is taken off that', async () => {
    const world = await shop()
    use(world, '12', NOVEMBER + DAY_MS)
    const { usage } = world.deps
    let asked = 0
    world.deps.usage = {
      ...usage,
      quantities: async (...question) => {
        asked += 1
        if (asked === 1) await world.run(NOVEMBER + 2 * DAY_MS)
        return usage.quantities(...question)
      },
    }
    await runAt(world, DECEMBER + 2 * HOUR_MS)
    expect(await invoices(world)).toEqual([
      ['Use 115.00', 'beside 115.00'],
      ['Use 115.00', `${LESS} -115.00`, 'period 0.00'],
    ])
  })

  test('is issued once by runs at once, and by several runners of one', async () => {
    const world = await shop()
    use(world, '12', NOVEMBER + DAY_MS)
    world.clock.nowMs = NOVEMBER + 2 * DAY_MS
    await Promise.all([1, 2, 3].map(() => world.run()))
    const { id } = await world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: null }, world))
    await Promise.all([1, 2, 3].map(() => runBilling(world.deps, async () => undefined, world.tenantId, id)))
    expect(await invoices(world)).toEqual([['Use 115.00', 'beside 115.00']])
    expect(world.charged).toHaveLength(1)
  })

  test.each(RUN_STEPS)('is issued once by a run that dies as step %s begins, and is continued', async (step) => {
    const world = await shop()
    use(world, '12', NOVEMBER + DAY_MS)
    world.clock.nowMs = NOVEMBER + 2 * DAY_MS
    const { id } = await world.transact(world.tenantId, (tx) => openRun(tx, { asOfMs: null }, world))
    const told: string[] = []
    const dying: Progress = async (begun) => {
      told.push(begun)
      if (begun === step) throw new Error('killed')
    }
    // Nothing is due beside it: no chunk of invoices is issued.
    const first = runBilling(world.deps, dying, world.tenantId, id)
    if (step === 'issue') await first
    else await expect(first).rejects.toThrow('killed')
    await runBilling(world.deps, async () => undefined, world.tenantId, id)
    expect(await invoices(world)).toEqual([['Use 115.00', 'beside 115.00']])
    expect(new Set(world.charged.map(({ idempotencyKey }) => idempotencyKey)).size).toBe(1)
  })

  test('that cannot be stored parks its subscription, and the others have theirs', async () => {
    const world = await shop()
    await world.subscribe('b', { endMs: null })
    await world.transact(world.tenantId, (tx) => putThreshold(tx, { subscription: 'b', threshold: '50.00' }, world))
    use(world, TOO_MUCH, NOVEMBER + DAY_MS)
    world.use('b', 'context_tokens', '12', NOVEMBER + DAY_MS)
    const runId = await runAt(world, NOVEMBER + 2 * DAY_MS)
    expect(await invoices(world)).toEqual([['Use 115.00', 'beside 115.00']])
    const { parked } = await world.transact(world.tenantId, (tx) => readRun(tx, runId))
    expect(parked.map(({ reason }) => reason)).toEqual([expect.stringContaining('too large to be stored')])
    // What cannot be rated opens no run.
    expect(await isProgressDue(world.deps, world.tenantId, world.clock.nowMs + 25 * HOUR_MS)).toBe(false)
  })

  test('is why the schedule opens a run, once its period comes to the threshold', async () => {
    const world = await shop()
    const isDue = () => isProgressDue(world.deps, world.tenantId, world.clock.nowMs)
    world.clock.nowMs = NOVEMBER + 2 * DAY_MS
    expect(await isDue()).toBe(false)
    use(world, '12', NOVEMBER + DAY_MS)
    expect(await isDue()).toBe(true)
    await world.run()
    expect(await isDue()).toBe(false)
  })
})

/** billing-rules: nothing is charged twice, flat amounts included. */
test('for any cut of usage into progressive invoices, they and the period’s own sum to price(all), rounded once', async () => {
  const cut = fc.array(fc.record({ units: fc.integer({ min: 0, max: 15 }), isRun: fc.boolean() }), { maxLength: 6 })
  const threshold = fc.constantFrom('0.01', '10.00', '50.00')
  await fc.assert(
    fc.asyncProperty(cut, threshold, async (pieces, least) => {
      const world = await shop(R1, least, DECEMBER)
      for (const [place, { units, isRun }] of pieces.entries()) {
        use(world, `${units}.005`, NOVEMBER + (2 * place + 1) * DAY_MS)
        if (isRun) await runAt(world, NOVEMBER + (2 * place + 2) * DAY_MS)
      }
      await runAt(world, DECEMBER + 2 * HOUR_MS)
      const quantity = pieces.reduce((sum, { units }) => sum + units * 1000 + 5, 0)
      const billed = (await world.invoices()).reduce((sum, { totalMinor }) => sum + totalMinor, 0n)
      expect(billed).toBe(r1Minor(quantity))
    }),
    { numRuns: 12 },
  )
})

/** R1 by hand, of thousandths of units: half away from zero. */
function r1Minor(thousandths: number): bigint {
  const flats = 200 + (thousandths > 10_000 ? 300 : 0) + (thousandths > 20_000 ? 300 : 0)
  const [first, beyond] = [Math.min(thousandths, 10_000), Math.max(thousandths - 10_000, 0)]
  return BigInt(flats + Math.floor((first * 10 + beyond * 5) / 10 + 0.5))
}
