import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Change } from '../../../../invoicer/agreements/subscriptions/change-subscription.ts'
import type { Subscription } from '../../../../invoicer/agreements/subscriptions/subscription.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import type { Problem } from '../../../../schemas/http/problem.ts'
import { runs } from '../../../support/runs.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS } from '../../agreements/subscriptions/changing-world.ts'
import { NOVEMBER } from '../../support/world.ts'
import { createFeesWorld, type FeesWorld } from './fees-world.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const TWO_WEEKS_MS = 14 * DAY_MS
/** In minor units, of a calendar month or, of one, of two weeks. */
const FEES: Record<string, number> = {
  ...{ small: 10_000, large: 29_999, tiny: 7, behind: 12_345, weeks: 4_321, team: 1_501, crew: 0 },
}
const ADD_ONS: Record<string, number> = { help: 1_999, extra: 333 }
type Seats = { price: Price; default: string; costOf: (seats: number) => number; mostMinor?: bigint }
/** Seats: the first 3 at 10.00, the others at 7.77, at most 45.00 a period; by their packages of 4. */
const SEATS: Record<string, Seats> = {
  team: {
    price: {
      model: 'graduated',
      tiers: [
        { up_to: '3', unit_amount: '10' },
        { up_to: null, unit_amount: '7.77' },
      ],
      maximum_amount: '45',
    },
    mostMinor: 4_500n,
    default: '1',
    costOf: (seats) => Math.min(seats, 3) * 1_000 + Math.max(seats - 3, 0) * 777,
  },
  crew: {
    price: { model: 'package', amount: '33.33', package_size: '4' },
    default: '6',
    costOf: (seats) => Math.ceil(seats / 4) * 3_333,
  },
}
const BEHIND = ['behind', 'crew', 'extra']
const OTHERWISE: Record<string, Parameters<FeesWorld['plan']>[0]> = {
  weeks: { interval: 'week', every: 2, alignment: 'anniversary' },
  help: { kind: 'add_on' },
  extra: { kind: 'add_on' },
}
const when = fc.constantFrom('now' as const, 'period_end' as const, null)
const addOn = fc.record({
  plan: fc.constantFrom(...Object.keys(ADD_ONS)),
  quantity: fc.integer({ min: 1, max: 9 }).map(String),
})
const STEP = fc.record({
  waitMs: fc.integer({ min: 0, max: 25 * 24 * 60 }).map((minutes) => minutes * 60_000),
  act: fc.oneof(
    { weight: 4, arbitrary: fc.constant('run' as const) },
    {
      weight: 3,
      arbitrary: fc.record({
        plan: fc.constantFrom(...Object.keys(FEES)),
        when,
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ quantities: fc.record({ seats: fc.integer({ min: 0, max: 9 }).map(String) }), when }),
    },
    {
      weight: 3,
      arbitrary: fc.record({ addOns: fc.uniqueArray(addOn, { maxLength: 2, selector: ({ plan }) => plan }), when }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ pause: fc.constantFrom('now' as const, 'period_end' as const), bill: fc.boolean() }),
    },
    { weight: 2, arbitrary: fc.record({ resume: fc.constantFrom('now' as const, 'period_end' as const) }) },
    { weight: 1, arbitrary: fc.record({ cancel: fc.constantFrom('period_end' as const, null) }) },
    { weight: 1, arbitrary: fc.constant({ cancel: 'now' as const, fees: 'none' as const }) },
  ),
})

/** Where the period ends that begins at a time, of the two weeks from an anchor or of a calendar month. */
function wholeOf(planKey: string, anchorMs: number, atMs: number): { startMs: number; endMs: number } {
  if (planKey === 'weeks') {
    const startMs = atMs - ((atMs - anchorMs) % TWO_WEEKS_MS)
    return { startMs, endMs: startMs + TWO_WEEKS_MS }
  }
  const [year, month] = [new Date(atMs).getUTCFullYear(), new Date(atMs).getUTCMonth()]
  return { startMs: Date.UTC(year, month, 1), endMs: Date.UTC(year, month + 1, 1) }
}

/** What a phase costs a period, each of its fees by itself, and whether these are in arrears. */
function costsOf({ planKey, quantities, addOns = [] }: Subscription['phases'][number]) {
  const seats = SEATS[planKey]
  return [
    { plan: planKey, minor: FEES[planKey]! },
    {
      ...{ plan: planKey, minor: seats?.costOf(Number(quantities?.seats ?? seats.default)) ?? 0 },
      mostMinor: seats?.mostMinor,
    },
    ...addOns.map((one) => ({ plan: one.planKey, minor: ADD_ONS[one.planKey]! * Number(one.quantity) })),
  ].map((cost) => ({ mostMinor: undefined, ...cost, isBehind: BEHIND.includes(cost.plan) }))
}

/**
 * The other way round, from the phases that are known at last: each of them cut where a period ends, each part of it
 * unused(start) − unused(end), in whole minor units; what has a maximum is added up by its period.
 */
function feesByPhases(subscription: Subscription): bigint {
  const all = [true, false].map((isBehind) => {
    const untilMs = (isBehind ? null : subscription.feesUntilMs) ?? subscription.endMs ?? 0
    return feesUntil(subscription, untilMs, isBehind)
  })
  return all.reduce((sum, one) => sum + one, 0n)
}

function feesUntil({ phases }: Subscription, untilMs: number, isBehind: boolean): bigint {
  let [sum, anchorMs, isWeekly] = [0n, NOVEMBER, false]
  const bounded = new Map<string, { sum: bigint; mostMinor: bigint }>()
  for (const [index, phase] of phases.entries()) {
    const { startMs, planKey, bills } = phase
    const costs = costsOf(phase).filter((cost) => cost.isBehind === isBehind)
    if ((planKey === 'weeks') !== isWeekly) {
      isWeekly = planKey === 'weeks'
      anchorMs = startMs
    }
    const behindMs = Math.min(phases[index + 1]?.startMs ?? untilMs, untilMs)
    for (let atMs = startMs; atMs < behindMs; ) {
      const whole = wholeOf(planKey, anchorMs, atMs)
      const unused = (minor: number, ms: number) => {
        const length = BigInt(whole.endMs - whole.startMs)
        return (2n * BigInt(minor) * BigInt(whole.endMs - ms) + length) / (2n * length)
      }
      const partEndMs = Math.min(whole.endMs, behindMs)
      for (const { plan, minor, mostMinor } of bills ? costs : []) {
        const costMinor = unused(minor, atMs) - unused(minor, partEndMs)
        const name = [plan, anchorMs, whole.startMs].join()
        if (mostMinor === undefined) sum += costMinor
        else bounded.set(name, { sum: (bounded.get(name)?.sum ?? 0n) + costMinor, mostMinor })
      }
      atMs = partEndMs
    }
  }
  for (const one of bounded.values()) sum += one.sum - (one.sum > one.mostMinor ? one.sum - one.mostMinor : 0n)
  return sum
}

function planOf(key: string, amount: string): Parameters<FeesWorld['plan']>[0] {
  const seats = SEATS[key]
  return {
    key,
    fees: BEHIND.includes(key) ? 'in_arrears' : 'in_advance',
    charges: [
      { key: 'base', name: 'Base fee', meter: null, price: { model: 'flat', amount } },
      ...(seats
        ? [{ key: 'seats', name: 'Seats', meter: null, price: seats.price, quantity: { default: seats.default } }]
        : []),
    ],
    ...OTHERWISE[key],
  }
}

/** Whatever is asked and whenever runs come: nothing is charged twice, nothing is left out, and each invoice is verified. */
test('all fees of a subscription sum to what its phases cost, in any order of changes and runs', async () => {
  let [settled, counted, added] = [0, 0, 0]
  const property = fc.asyncProperty(
    fc.array(STEP, { minLength: 3, maxLength: 10 }),
    fc.option(fc.integer({ min: 1, max: 50 })),
    async (steps, trialDays) => {
      worlds += 1
      const world = await createFeesWorld(database, `sum-${worlds}`)
      for (const [key, minor] of Object.entries({ ...FEES, ...ADD_ONS })) {
        await world.plan(planOf(key, (minor / 100).toFixed(2)))
      }
      world.clock.nowMs = NOVEMBER
      await world.subscribe('other', { plan: 'tiny', startMs: Date.UTC(2030, 0, 1), endMs: null })
      const trial = trialDays === null ? undefined : { days: trialDays }
      await world.create({ externalKey: 'a', customer: 'other', planKey: 'team', startMs: NOVEMBER, trial })
      const change = (wanted: Change) =>
        world.change('a', wanted).catch((error: unknown) => {
          // What has no seats cannot be given any.
          expect(['illegal_state', 'invalid_request']).toContain((error as Problem).code)
        })
      for (const { waitMs, act } of steps) {
        world.clock.nowMs += waitMs
        if (act === 'run') await world.run()
        else await change(act)
      }
      await change({ cancel: 'now' })
      const { endMs } = await world.read('a')
      await world.runAt(Math.max(world.clock.nowMs, endMs!) + 2 * HOUR_MS)
      const subscription = await world.read('a')
      expect(subscription.state).toBe('ended')
      const lines = (await world.invoices()).flatMap((invoice) => invoice.lines)
      counted += lines.filter(({ breakdown }) => breakdown.filter(({ type }) => type === 'quantity').length > 1).length
      added += lines.filter(({ planKey }) => Object.hasOwn(ADD_ONS, planKey ?? '')).length
      settled += lines.filter(({ breakdown }) => breakdown[0]?.type === 'fee_difference').length
      expect(lines.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)).toBe(feesByPhases(subscription))
      expect(await world.wrong()).toEqual([])
      // Once more changes nothing.
      await world.runAt(world.clock.nowMs + DAY_MS)
      expect((await world.invoices()).flatMap((invoice) => invoice.lines)).toHaveLength(lines.length)
    },
  )
  await fc.assert(property, { numRuns: runs(15) })
  for (const seen of [settled, counted, added]) expect(seen).toBeGreaterThan(0)
})
