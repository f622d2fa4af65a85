import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalOverrides, overridden } from '../../../../invoicer/agreements/contracts/overrides.ts'
import { privatePlan } from '../../../../invoicer/agreements/contracts/private-plan.ts'
import { endOfDurations, termEnd } from '../../../../invoicer/agreements/contracts/term-end.ts'
import type { Term } from '../../../../invoicer/agreements/contracts/terms.ts'
import type { Charge, Plan } from '../../../../invoicer/agreements/plans/plan.ts'
import { draftInvoice } from '../../../../invoicer/billing/lines.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { NO_USAGE } from '../../../../invoicer/billing/usage.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'
import { INTERVALS, periodBoundary } from '../../../../schemas/time/period.ts'
import { DECEMBER, NOVEMBER, storedPlan } from '../../support/world.ts'

const means = { now: () => 1, newId: () => 'private' }
const decimal = fc.integer({ min: 0, max: 99_999 }).map((number) => (number / 1000).toFixed(3))
const price: fc.Arbitrary<Price> = fc.oneof(
  decimal.map((unit_amount): Price => ({ model: 'per_unit', unit_amount })),
  fc.tuple(decimal, decimal).map(([amount, minimum_amount]): Price => {
    return { model: 'package', amount, package_size: '10', minimum_amount }
  }),
  fc.tuple(decimal, decimal).map(([one, other]): Price => {
    const tiers = [
      { up_to: '100', unit_amount: one, flat_amount: other },
      { up_to: null, unit_amount: other },
    ]
    return { model: 'graduated', tiers }
  }),
)
const base = fc.array(price, { minLength: 1, maxLength: 5 }).map((prices): Plan<Price> => {
  const charges = prices.map((one, index): Charge<Price> => {
    return { key: `c${index}`, name: `C${index}`, meter: `m${index}`, price: one }
  })
  return storedPlan({ charges })
})
const period = { index: 0, startMs: NOVEMBER, endMs: DECEMBER, wholeStartMs: NOVEMBER, wholeEndMs: DECEMBER }
/** What a period costs in which so much of each meter was used; whose lines they are is left out. */
function linesOf(plan: Plan, used: readonly number[]) {
  const usageOf = (meter: string) => {
    return { ...NO_USAGE, quantity: parseQuantity(String(used[Number(meter.slice(1))] ?? 0)) }
  }
  const { lines } = draftInvoice(plan as Plan<Price>, period, usageOf, 'UTC')
  return lines.map(({ chargeKey, description, amountMinor, breakdown }) => {
    return { chargeKey, description, amountMinor, breakdown }
  })
}
const quantities = fc.array(fc.integer({ min: 0, max: 500 }), { minLength: 5, maxLength: 5 })

describe('a private version of a plan', () => {
  test('without overrides is the plan itself, and with its own prices it bills exactly as its base', () => {
    fc.assert(
      fc.property(base, quantities, (plan, used) => {
        expect(privatePlan(plan, {}, 'ann', means)).toBe(plan)
        const own = Object.fromEntries(plan.charges.map(({ key, price }) => [key, { price: { ...price } }]))
        const same = privatePlan(plan, { charges: own }, 'ann', means)
        expect([same.hash, linesOf(same, used)]).toEqual([plan.hash, linesOf(plan, used)])
      }),
    )
  })

  test('bills charges that are not overridden as its base, and the others as a plan with those prices', () => {
    const taken = fc.array(fc.option(price), { minLength: 5, maxLength: 5 })
    fc.assert(
      fc.property(base, taken, quantities, (plan, others, used) => {
        const charges = Object.fromEntries(
          plan.charges.flatMap(({ key }, index) => {
            const other = others[index]
            return other ? [[key, { price: other }]] : []
          }),
        )
        const agreed = privatePlan(plan, { charges }, 'ann', means)
        const byHand = plan.charges.map((charge, index) => ({ ...charge, price: others[index] ?? charge.price }))
        expect(linesOf(agreed, used)).toEqual(linesOf(storedPlan({ charges: byHand }), used))
        expect([agreed.key, agreed.version]).toEqual([plan.key, plan.version])
      }),
    )
  })

  test('says of its base and its customer, and is none of the base', () => {
    const plan = storedPlan()
    const agreed = privatePlan(plan, { charges: { base: null } }, 'ann', means)
    expect(agreed).toMatchObject({ id: 'private', agreed: { baseId: plan.id, customerId: 'ann' }, createdAtMs: 1 })
    expect(agreed.hash).not.toBe(plan.hash)
    expect(agreed.charges.map(({ key }) => key)).toEqual(['context', 'generated'])
  })

  test('overrides spelled otherwise are the same: prices, and the quantity of a charge that is added', () => {
    const spelled = (one: string, two: string) => {
      const price = { model: 'per_unit', unit_amount: two }
      const seats = { key: 'seats', name: 'Seats 1.0', meter: null, price, quantity: { default: one, max: two } }
      return canonicalOverrides({ charges: { c0: { price }, c1: null }, add: [seats] }, () => [], 'overrides')
    }
    expect(spelled('1.0', '20.00')).toEqual(spelled('1', '20'))
    expect(spelled('1.0', '20.00').add).toMatchObject([{ name: 'Seats 1.0', quantity: { default: '1', max: '20' } }])
  })

  test('a name that every object has is no charge', () => {
    const { errors } = overridden(storedPlan(), { charges: { constructor: null } }, 'overrides')
    expect(errors.map(({ path }) => path)).toEqual(['overrides.charges.constructor'])
  })
})

describe('when a term ends', () => {
  const year: Term = { interval: 'year', count: 1, renewal: 'renew', renewOn: 'same', noticeDays: 0 }
  const startMs = Date.UTC(2024, 1, 29)

  test('a year from 29 February on ends on 28 February, and in a leap year on the 29th (billing-rules, Periods)', () => {
    const ends = [2024, 2025, 2026, 2027].map((y) => termEnd(startMs, year, 'UTC', Date.UTC(y, 5, 1)))
    expect(ends.map((ms) => new Date(ms).toISOString().slice(0, 10))).toEqual([
      ...['2025-02-28', '2026-02-28', '2027-02-28', '2028-02-29'],
    ])
  })

  test('at its very end another one has begun, and before the start the first has not ended', () => {
    const endMs = Date.UTC(2025, 1, 28)
    expect(termEnd(startMs, year, 'UTC', endMs)).toBe(Date.UTC(2026, 1, 28))
    expect(termEnd(startMs, year, 'UTC', endMs - 60_000)).toBe(endMs)
    expect(termEnd(startMs, year, 'UTC', 0)).toBe(endMs)
    expect(termEnd(startMs, { ...year, renewal: 'end' }, 'UTC', Date.UTC(2030, 1))).toBe(endMs)
  })

  test('is a boundary of terms from the start on, not before its notice and at most a term behind that', () => {
    const cases = fc.record({
      startDay: fc.integer({ min: 0, max: 20_000 }),
      interval: fc.constantFrom(...INTERVALS),
      count: fc.integer({ min: 1, max: 30 }),
      noticeDays: fc.integer({ min: 0, max: 366 }),
      laterDays: fc.integer({ min: 0, max: 700 }),
      zone: fc.constantFrom('UTC', 'America/New_York', 'Europe/Athens'),
    })
    const dayMs = 86_400_000
    fc.assert(
      fc.property(cases, ({ startDay, interval, count, noticeDays, laterDays, zone }) => {
        const fromMs = Date.UTC(2000, 0, 1) + startDay * dayMs
        const atMs = fromMs + laterDays * dayMs
        const endMs = termEnd(fromMs, { ...year, interval, count, noticeDays }, zone, atMs)
        let n = 1
        const boundary = (of: number) => periodBoundary(fromMs, { interval, every: count }, zone, of)
        while (boundary(n) < endMs) n += 1
        expect(boundary(n)).toBe(endMs)
        const noticedMs = noticeDays === 0 ? atMs : endOfDurations(atMs, [{ interval: 'day', count: noticeDays }], zone)
        expect(endMs).toBeGreaterThanOrEqual(noticedMs)
        expect(n === 1 || boundary(n - 1) <= Math.max(noticedMs, atMs)).toBe(true)
      }),
    )
  })

  test('durations that follow one another: months from the start, so that the 31st comes back', () => {
    const month = { interval: 'month' as const, count: 1 }
    const from = Date.UTC(2024, 0, 31)
    expect(new Date(endOfDurations(from, [month], 'UTC')).toISOString().slice(0, 10)).toBe('2024-02-29')
    expect(new Date(endOfDurations(from, [month, month], 'UTC')).toISOString().slice(0, 10)).toBe('2024-03-31')
    const quarterAndWeek = [
      { interval: 'quarter' as const, count: 1 },
      { interval: 'week' as const, count: 2 },
    ]
    expect(new Date(endOfDurations(from, quarterAndWeek, 'UTC')).toISOString().slice(0, 10)).toBe('2024-05-14')
  })
})
