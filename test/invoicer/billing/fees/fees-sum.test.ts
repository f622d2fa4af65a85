import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Change } from '../../../../invoicer/agreements/subscriptions/change-subscription.ts'
import type { Subscription } from '../../../../invoicer/agreements/subscriptions/subscription.ts'
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
const FEES: Record<string, number> = { small: 10_000, large: 29_999, tiny: 7, behind: 12_345, weeks: 4_321 }
const OTHERWISE: Record<string, Parameters<FeesWorld['plan']>[0]> = {
  behind: { fees: 'in_arrears' },
  weeks: { interval: 'week', every: 2, alignment: 'anniversary' },
}
const STEP = fc.record({
  waitMs: fc.integer({ min: 0, max: 25 * 24 * 60 }).map((minutes) => minutes * 60_000),
  act: fc.oneof(
    { weight: 4, arbitrary: fc.constant('run' as const) },
    {
      weight: 3,
      arbitrary: fc.record({
        plan: fc.constantFrom(...Object.keys(FEES)),
        when: fc.constantFrom('now' as const, 'period_end' as const, null),
      }),
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

/**
 * The other way round, from the phases that are known at last: each of them cut where a period ends, each part of it
 * unused(start) − unused(end), in whole minor units.
 */
function feesByPhases({ phases, endMs, feesUntilMs }: Subscription): bigint {
  const untilMs = feesUntilMs ?? endMs ?? 0
  let [sum, anchorMs, isWeekly] = [0n, NOVEMBER, false]
  for (const [index, { startMs, planKey, bills }] of phases.entries()) {
    if ((planKey === 'weeks') !== isWeekly) {
      isWeekly = planKey === 'weeks'
      anchorMs = startMs
    }
    const behindMs = Math.min(phases[index + 1]?.startMs ?? untilMs, untilMs)
    for (let atMs = startMs; atMs < behindMs; ) {
      const whole = wholeOf(planKey, anchorMs, atMs)
      const unused = (ms: number) => {
        const length = BigInt(whole.endMs - whole.startMs)
        return (2n * BigInt(FEES[planKey]!) * BigInt(whole.endMs - ms) + length) / (2n * length)
      }
      const partEndMs = Math.min(whole.endMs, behindMs)
      if (bills) sum += unused(atMs) - unused(partEndMs)
      atMs = partEndMs
    }
  }
  return sum
}

/** Whatever is asked and whenever runs come: nothing is charged twice, nothing is left out, and each invoice is verified. */
test('all fees of a subscription sum to what its phases cost, in any order of changes and runs', async () => {
  let settled = 0
  const property = fc.asyncProperty(
    fc.array(STEP, { minLength: 3, maxLength: 9 }),
    fc.option(fc.integer({ min: 1, max: 50 })),
    async (steps, trialDays) => {
      worlds += 1
      const world = await createFeesWorld(database, `sum-${worlds}`)
      for (const [key, minor] of Object.entries(FEES)) {
        await world.ahead(key, (minor / 100).toFixed(2), OTHERWISE[key])
      }
      world.clock.nowMs = NOVEMBER
      await world.subscribe('other', { plan: 'tiny', startMs: Date.UTC(2030, 0, 1), endMs: null })
      const trial = trialDays === null ? undefined : { days: trialDays }
      await world.create({ externalKey: 'a', customer: 'other', planKey: 'small', startMs: NOVEMBER, trial })
      const change = (wanted: Change) =>
        world.change('a', wanted).catch((error: unknown) => expect(error).toMatchObject({ code: 'illegal_state' }))
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
      settled += lines.filter(({ breakdown }) => breakdown[0]?.type === 'fee_difference').length
      expect(lines.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)).toBe(feesByPhases(subscription))
      expect(await world.wrong()).toEqual([])
      // Once more changes nothing.
      await world.runAt(world.clock.nowMs + DAY_MS)
      expect((await world.invoices()).flatMap((invoice) => invoice.lines)).toHaveLength(lines.length)
    },
  )
  await fc.assert(property, { numRuns: runs(15) })
  expect(settled).toBeGreaterThan(0)
}, 240_000)
