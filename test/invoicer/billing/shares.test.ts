import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Plan } from '../../../invoicer/agreements/plans/plan.ts'
import type { Phase } from '../../../invoicer/agreements/subscriptions/phases.ts'
import { type Draft, draftShares } from '../../../invoicer/billing/lines.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'
import { planIdsOf, ratable, segmentsOf, sharesOf, usageRequests } from '../../../invoicer/billing/shares.ts'
import type { MeteredUsage } from '../../../invoicer/billing/usage.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import type { Period } from '../../../schemas/time/period.ts'
import { DECEMBER, MONTHLY, NOVEMBER, storedPlan } from '../support/world.ts'

const MINUTE_MS = 60_000
const MINUTES = 30 * 24 * 60
const period: Period = { index: 0, startMs: NOVEMBER, endMs: DECEMBER, wholeStartMs: NOVEMBER, wholeEndMs: DECEMBER }
const flat = (amount: string, minimum?: string): Price => {
  return { model: 'flat', amount, ...(minimum === undefined ? {} : { minimum_amount: minimum }) }
}
const planWith = (id: string, price: Price): Plan<Price> => ({
  ...storedPlan({ charges: [{ key: 'base', name: 'Base', meter: price.model === 'flat' ? null : 'm', price }] }),
  id,
})
const nothing = () => new Map<string, MeteredUsage>()

/** An invoice of the period with these phases, and what was counted. */
function drafted(phases: readonly Phase[] | null, price: (planId: string) => Price, usage = nothing()): Draft {
  const planOf = (id: string) => planWith(id, price(id))
  return draftShares(sharesOf('k', ratable({ planId: 'a', phases, terms: MONTHLY }, period, planOf), usage, 'UTC'))
}

const phasesOf = (withFree: boolean) =>
  fc.uniqueArray(
    fc.record({
      minute: fc.integer({ min: -100, max: MINUTES + 100 }),
      planId: fc.constantFrom('a', 'b', 'c'),
      bills: withFree ? fc.boolean() : fc.constant(true),
    }),
    { maxLength: 12, selector: ({ minute }) => minute },
  )
const toPhases = (drawn: { minute: number; planId: string; bills: boolean }[]): Phase[] =>
  [...drawn]
    .sort((a, b) => a.minute - b.minute)
    .map(({ minute, planId, bills }) => {
      return { startMs: NOVEMBER + minute * MINUTE_MS, planId, bills, kind: bills ? 'active' : 'paused' }
    })

describe('a period is cut where phases begin', () => {
  test('into segments that tile it', () => {
    fc.assert(
      fc.property(phasesOf(true).map(toPhases), (phases) => {
        const segments = segmentsOf('a', phases, period)
        expect(segments[0]!.part.startMs).toBe(NOVEMBER)
        expect(segments.at(-1)!.part.endMs).toBe(DECEMBER)
        for (const [index, { part }] of segments.entries()) {
          expect(part.startMs).toBeLessThan(part.endMs)
          expect(part.startMs).toBe(segments[index - 1]?.part.endMs ?? NOVEMBER)
          expect([part.wholeStartMs, part.wholeEndMs]).toEqual([NOVEMBER, DECEMBER])
        }
      }),
    )
  })

  test('and a fee below its minimum costs that, though a plan that lasts minutes has a cent of the one and none of the other', () => {
    const price: Price = { ...flat('100', '95'), discount_percent: '33.3' }
    const minutes = [1698797220000, 1698797400000]
    const phases = ['b', 'a'].map((planId, index): Phase => {
      return { startMs: minutes[index]!, planId, kind: 'active', bills: true }
    })
    const { lines, totalMinor } = drafted(phases, () => price)
    expect(lines.map(({ planId, amountMinor }) => [planId, amountMinor])).toEqual([
      ['a', 6669n],
      ['a', 2831n],
      ['b', 1n],
      ['b', -1n],
    ])
    expect(totalMinor).toBe(9500n)
  })

  test('and several of an add-on cost what they cost, whatever the minimum of one is', () => {
    const plan = { ...planWith('add-on', flat('10', '50')), kind: 'add_on' as const }
    const amounts = (addOnQuantity: string) => {
      const part = { ...period }
      const [share] = sharesOf('k', { period, plan, portions: [{ plan, parts: [part] }] }, nothing(), 'UTC')
      return draftShares([{ ...share!, held: [{ part, addOnQuantity }] }]).lines.map(({ amountMinor }) => amountMinor)
    }
    expect([amounts('1'), amounts('5'), amounts('6')]).toEqual([[1000n, 4000n], [5000n], [6000n]])
  })

  test.each<[string, Price]>([
    ['a fee', flat('99.99')],
    ['a fee with a discount and a minimum', { ...flat('100', '95'), discount_percent: '33.3' }],
    ['a minimum of usage', { model: 'per_unit', unit_amount: '1', minimum_amount: '77.77' }],
  ])('and %s costs what it costs uncut, however often plans of the same price change (P8)', (_name, price) => {
    const whole = drafted(null, () => price).totalMinor
    fc.assert(
      fc.property(phasesOf(false).map(toPhases), (phases) => {
        expect(drafted(phases, () => price).totalMinor).toBe(whole)
      }),
    )
  })

  test('and what is not billed costs its share less, so that both are the whole', () => {
    fc.assert(
      fc.property(phasesOf(true).map(toPhases), (phases) => {
        const inverse = [
          { startMs: NOVEMBER - 101 * MINUTE_MS, planId: 'a', kind: 'active' as const, bills: true },
          ...phases,
        ]
        const free = inverse.map((phase) => ({ ...phase, bills: !phase.bills }))
        const sum = drafted(inverse, () => flat('100')).totalMinor + drafted(free, () => flat('100')).totalMinor
        expect(sum).toBe(10_000n)
      }),
    )
  })
})

describe('the usage of a cut period', () => {
  const at = (day: number) => NOVEMBER + day * 24 * 60 * MINUTE_MS
  const phase = (day: number, planId: string, bills = true): Phase => {
    return { startMs: at(day), planId, kind: bills ? 'active' : 'trial', bills }
  }
  const phases = [phase(0, 'a', false), phase(5, 'a'), phase(10, 'b'), phase(20, 'a')]
  const price: Price = {
    model: 'graduated',
    tiers: [
      { up_to: '10', unit_amount: '1' },
      { up_to: null, unit_amount: '2' },
    ],
  }
  const cut = ratable({ planId: 'a', phases, terms: MONTHLY }, period, (id) => planWith(id, price))

  test('is read plan by plan, to where it is asked for, and not where nothing is billed', () => {
    const spans = (untilMs?: number) =>
      usageRequests('k', ['s'], cut, untilMs).map(({ startMs, endMs, parts }) => [startMs, endMs, parts])
    const parts = (endMs: number) => [
      { startMs: at(5), endMs: at(10) },
      { startMs: at(20), endMs },
    ]
    const [first, second] = [
      [at(5), DECEMBER, parts(DECEMBER)],
      [at(10), at(20), undefined],
    ]
    expect(spans()).toEqual([first, second])
    expect(spans(at(25))).toEqual([[at(5), at(25), parts(at(25))], second])
    expect(spans(at(15))).toEqual([
      [at(5), at(10), undefined],
      [at(10), at(15), undefined],
    ])
    expect(spans(at(5))).toEqual([])
    expect(usageRequests('k', [], cut)).toEqual([])
  })

  test('of parts that meet on one plan is read at once, whatever was said between them', () => {
    const rests: Phase = { ...phase(10, 'a'), kind: 'paused' }
    const met = ratable({ planId: 'a', phases: [rests, phase(20, 'a')], terms: MONTHLY }, period, (id) =>
      planWith(id, price),
    )
    expect(met.portions.map(({ parts }) => parts)).toEqual([[period]])
  })

  /** A level of 10 that was billed as 20 where a plan took over in the middle, 10 for each part. */
  test('a constant level comes to the same, however often plans of the same price change', () => {
    const level = parseQuantity('10')
    const each: Price = { model: 'per_unit', unit_amount: '1' }
    fc.assert(
      fc.property(phasesOf(false).map(toPhases), fc.option(fc.integer({ min: 1, max: MINUTES })), (phases, minute) => {
        const one = ratable({ planId: 'a', phases, terms: MONTHLY }, period, (id) => planWith(id, each))
        const requests = usageRequests('k', ['s'], one, minute === null ? undefined : NOVEMBER + minute * MINUTE_MS)
        const answers = new Map(
          requests.map(({ key, startMs, endMs, parts = [{ startMs, endMs }], averagedOverMs = endMs - startMs }) => {
            const lastsMs = parts.reduce((sum, part) => sum + part.endMs - part.startMs, 0)
            const quantity = level.times(lastsMs).div(averagedOverMs).toDecimalPlaces(12)
            return [key, { quantity, events: 0, digest: 0n }]
          }),
        )
        const { lines, totalMinor } = draftShares(sharesOf('k', one, answers, 'UTC'))
        // Each line is rounded to the cent.
        expect(Math.abs(Number(totalMinor) - 1000)).toBeLessThanOrEqual(lines.length / 2)
        if (lines.length === 1) expect(totalMinor).toBe(1000n)
      }),
    )
  })

  test('of parts on one plan is rated together; plans begin anew', () => {
    const counted = (quantity: string, events: number): MeteredUsage => {
      return { quantity: parseQuantity(quantity), events, digest: 3n * BigInt(events / 2) }
    }
    const [ofA, ofB] = usageRequests('k', ['s'], cut)
    const answers = new Map([
      [ofA!.key, counted('17', 4)],
      [ofB!.key, counted('11', 2)],
    ])
    const { lines } = draftShares(sharesOf('k', cut, answers, 'UTC'))
    expect(lines.map(({ planId, amountMinor, usage }) => [planId, amountMinor, usage?.events, usage?.digest])).toEqual([
      ['a', 2400n, 4, 6n],
      ['b', 1200n, 2, 3n],
    ])
    expect(lines.map((line) => line.period)).toEqual([
      { startMs: at(5), endMs: DECEMBER },
      { startMs: at(10), endMs: at(20) },
    ])
  })

  test('is of the plan at its end, and of none where a plan cannot be rated', () => {
    expect(cut.plan.id).toBe('a')
    expect(planIdsOf({ planId: 'z', phases })).toEqual(['z', 'a', 'a', 'b', 'a'])
    const planOf = (id: string) =>
      id === 'b' ? new Problem('calculation_failed', 'b is broken.') : planWith(id, price)
    expect(() => ratable({ planId: 'a', phases, terms: MONTHLY }, period, planOf)).toThrow('b is broken.')
  })
})
