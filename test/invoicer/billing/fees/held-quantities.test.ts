import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Charge } from '../../../../invoicer/agreements/plans/plan.ts'
import type { Phase } from '../../../../invoicer/agreements/subscriptions/phases.ts'
import { rateRuns, runsOf } from '../../../../invoicer/billing/fees/held-quantities.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { rateCharge } from '../../../../invoicer/billing/rating/rate.ts'
import { ratable, usageRequests } from '../../../../invoicer/billing/shares.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'
import type { Period } from '../../../../schemas/time/period.ts'
import { DECEMBER, MONTHLY, NOVEMBER, storedPlan } from '../../support/world.ts'

const MINUTES = 30 * 24 * 60
const BASIS = { unit: 'second' as const, zone: 'UTC' }
const period: Period = { index: 0, startMs: NOVEMBER, endMs: DECEMBER, wholeStartMs: NOVEMBER, wholeEndMs: DECEMBER }
const seats = (price: Price): Charge<Price> => {
  return { key: 'seats', name: 'Seats', meter: null, price, quantity: { default: '1' } }
}
const tiers = [
  { up_to: '3', unit_amount: '9.99', flat_amount: '5' },
  { up_to: null, unit_amount: '7.77' },
]
const PRICES: Price[] = [
  { model: 'per_unit', unit_amount: '3.333' },
  { model: 'graduated', tiers, included_units: '1' },
  { model: 'volume', tiers, discount_percent: '12.5' },
  { model: 'package', amount: '10.01', package_size: '3', maximum_amount: '25' },
]
const minute = fc.integer({ min: 1, max: MINUTES - 1 }).map((at) => NOVEMBER + at * 60_000)
/** Parts of the period that tile it, cut where drawn. */
function cutAt(times: readonly number[]): Period[] {
  const starts = [NOVEMBER, ...[...new Set(times)].sort((a, b) => a - b)]
  return starts.map((startMs, index) => ({ ...period, startMs, endMs: starts[index + 1] ?? DECEMBER }))
}

describe('a fee by an agreed quantity (billing-rules: Seats are a quantity)', () => {
  test('costs its price, however often nothing is changed', () => {
    const property = fc.property(
      fc.constantFrom(...PRICES),
      fc.integer({ min: 0, max: 12 }).map(String),
      fc.array(minute, { maxLength: 6 }),
      (price, quantity, times) => {
        const held = cutAt(times).map((part) => ({ part, quantities: { seats: quantity } }))
        const charge = seats(price)
        const runs = runsOf(charge, held)!
        expect(runs).toEqual([{ quantity, part: period }])
        const { amountMinor } = rateRuns(charge, runs, BASIS, 'USD')
        expect(amountMinor).toBe(rateCharge(price, parseQuantity(quantity), 'USD').amountMinor)
      },
    )
    fc.assert(property)
  })

  test('is never more than at the most it had, nor less than at the least, where more cost more', () => {
    const property = fc.property(
      fc.constantFrom(...PRICES.filter(({ model }) => model !== 'volume')),
      fc.array(fc.tuple(minute, fc.integer({ min: 0, max: 12 })), { minLength: 1, maxLength: 6 }),
      (price, changes) => {
        const parts = cutAt(changes.map(([at]) => at))
        const quantities = parts.map((_, index) => changes[index % changes.length]![1])
        const held = parts.map((part, index) => ({ part, quantities: { seats: String(quantities[index]) } }))
        const charge = seats(price)
        const rated = rateRuns(charge, runsOf(charge, held)!, BASIS, 'USD')
        const [least, most] = [Math.min(...quantities), Math.max(...quantities)].map((quantity) => {
          return rateCharge(price, parseQuantity(String(quantity)), 'USD').amountMinor
        })
        // Each part is rounded twice.
        const cents = BigInt(parts.length)
        expect(rated.amountMinor).toBeGreaterThanOrEqual(least! - cents)
        expect(rated.amountMinor).toBeLessThanOrEqual(most! + cents)
      },
    )
    fc.assert(property)
  })

  test('may be of a charge whose key every object has', () => {
    const odd = { ...seats({ model: 'per_unit', unit_amount: '2' }), key: 'constructor' }
    expect(runsOf(odd, [{ part: period }])).toEqual([{ quantity: '1', part: period }])
  })

  test('costs its maximum at most, which is one of all its parts and is not prorated (billing-rules: Rating)', () => {
    const charge = seats({ model: 'per_unit', unit_amount: '10', maximum_amount: '60' })
    const [half, rest] = cutAt([NOVEMBER + 15 * 86_400_000])
    const rated = (...held: (readonly [Period, string])[]) => {
      const runs = runsOf(
        charge,
        held.map(([part, quantity]) => ({ part, quantities: { seats: quantity } })),
      )!
      return rateRuns(charge, runs, BASIS, 'USD')
    }
    expect(rated([half!, '10']).amountMinor).toBe(5000n)
    expect(rated([half!, '14']).amountMinor).toBe(6000n)
    const { amountMinor, breakdown } = rated([half!, '4'], [rest!, '10'])
    expect(amountMinor).toBe(6000n)
    expect(breakdown.map(({ type }) => type)).toEqual([
      ...['quantity', 'per_unit', 'proration'],
      ...['quantity', 'per_unit', 'proration', 'maximum'],
    ])
    expect(breakdown.at(-1)).toEqual({ type: 'maximum', maximum_amount: '60', amount: '-10' })
  })

  test('of an add-on is charged at how many there are of it, flat or not; usage is not', () => {
    const flat: Charge<Price> = {
      ...{ key: 'fee', name: 'Fee', meter: null },
      price: { model: 'flat', amount: '20', included_units: '5', discount_percent: '10' },
    }
    const held = [{ part: period, addOnQuantity: '3.0' }]
    expect(rateRuns(flat, runsOf(flat, held)!, BASIS, 'USD')).toMatchObject({
      amountMinor: 5400n,
      breakdown: [{ type: 'quantity', quantity: '3', amount: '54.00' }, { type: 'per_unit' }, { type: 'discount' }],
    })
    const each = seats({ model: 'per_unit', unit_amount: '2' })
    expect(rateRuns(each, runsOf(each, held)!, BASIS, 'USD').amountMinor).toBe(600n)
    expect(runsOf({ ...each, meter: 'm' }, held)).toBeUndefined()
    // Of a plan that is none, a flat price says all.
    expect(runsOf(flat, [{ part: period }])).toBeUndefined()
  })
})

describe('a period in which quantities and add-ons change', () => {
  const plan = storedPlan()
  const phase = (day: number, more: Partial<Phase> = {}): Phase => {
    return { startMs: NOVEMBER + day * 86_400_000, planId: 'base', kind: 'active', bills: true, ...more }
  }
  const addOns = (...ids: string[]) => ids.map((planId) => ({ planId, quantity: '2' }))
  const of = (...phases: Phase[]) =>
    ratable({ planId: 'base', phases, terms: MONTHLY }, period, (id) => ({ ...plan, id }))

  test('is one portion of its plan, whose usage is read once, and one of each add-on', () => {
    const changing = of(
      phase(0),
      phase(5, { quantities: { seats: '2' } }),
      phase(9, { addOns: addOns('x') }),
      phase(20),
    )
    expect(changing.portions.map(({ plan: { id }, parts }) => [id, parts.length])).toEqual([
      ['base', 1],
      ['x', 1],
    ])
    const [base, added] = changing.portions
    expect(base!.parts).toEqual([period])
    expect(added!.parts).toMatchObject([{ startMs: phase(9).startMs, endMs: phase(20).startMs }])
    const requests = usageRequests('k', ['a'], changing)
    expect(requests.filter(({ startMs, endMs }) => startMs === NOVEMBER && endMs === DECEMBER)).toHaveLength(2)
    expect(changing.plan.id).toBe('base')
  })

  test('has no part of what is not billed, and parts of an add-on that comes again', () => {
    const x = { addOns: addOns('x') }
    const paused = of(
      phase(0, x),
      phase(5, { ...x, kind: 'paused', bills: false }),
      phase(10, x),
      phase(12),
      phase(20, x),
    )
    expect(paused.portions.map(({ plan: { id }, parts }) => [id, parts.length])).toEqual([
      ['base', 2],
      ['x', 3],
    ])
  })
})
