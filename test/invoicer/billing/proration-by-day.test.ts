import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { draftInvoice } from '../../../invoicer/billing/lines.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'
import type { MeteredUsage } from '../../../invoicer/billing/usage.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import { type Period, periodAt } from '../../../schemas/time/period.ts'
import { ODD_ZONES } from '../../support/odd-zones.ts'
import { runs } from '../../support/runs.ts'
import { storedPlan } from '../support/world.ts'

/** billing-rules "Proration": the basis is a setting of the plan; by days, calendar days of the customer's zone. */
const ZONE = 'America/New_York'
const at = (text: string) => Date.parse(text)
const march: Period = {
  index: 0,
  startMs: at('2024-03-01T05:00Z'),
  endMs: at('2024-04-01T04:00Z'),
  wholeStartMs: at('2024-03-01T05:00Z'),
  wholeEndMs: at('2024-04-01T04:00Z'),
}
const used: MeteredUsage = { quantity: parseQuantity('12'), events: 1, digest: 1n }
const draft = (price: Price, period: Period, prorationBasis: 'second' | 'day', zone = ZONE) => {
  const charge = { key: 'c', name: 'C', meter: price.model === 'flat' ? null : 'm', price }
  return draftInvoice(storedPlan({ prorationBasis, charges: [charge] }), period, () => used, zone)
}
const flat = (amount: string): Price => ({ model: 'flat', amount })

describe('a cut period by days', () => {
  test('P3: of a month of 50,000.00, from the 15th on 17 of 31 days whatever the hour', () => {
    for (const start of ['2024-03-15T04:00Z', '2024-03-15T16:12Z', '2024-03-16T03:59Z']) {
      const [line] = draft(flat('50000'), { ...march, startMs: at(start) }, 'day').lines
      expect(line?.amountMinor).toBe(2_741_935n)
      expect(line?.breakdown.at(-1)).toEqual({
        type: 'proration',
        days: 17,
        of_days: 31,
        amount: '-22580.645161290323',
      })
    }
    expect(draft(flat('50000'), { ...march, startMs: at('2024-03-15T16:12Z') }, 'second').totalMinor).not.toBe(
      2_741_935n,
    )
  })

  test('the days are those of the zone', () => {
    // In Tokyo it is the 16th already.
    const cut = { ...march, startMs: at('2024-03-15T16:12Z') }
    expect(draft(flat('3100'), cut, 'day').totalMinor).toBe(170_000n)
    expect(draft(flat('3100'), cut, 'day', 'Asia/Tokyo').totalMinor).toBe(160_000n)
  })

  test('usage is not prorated; flat amounts of its tiers and its minimum are, by days too', () => {
    const cut = { ...march, startMs: at('2024-03-15T16:12Z') }
    const tiered: Price = { model: 'graduated', tiers: [{ up_to: null, unit_amount: '1', flat_amount: '31' }] }
    expect(draft(tiered, cut, 'day').totalMinor).toBe(2_900n)
    const least: Price = { model: 'per_unit', unit_amount: '1', minimum_amount: '31' }
    const { lines } = draft(least, cut, 'day')
    expect(lines.map(({ amountMinor }) => amountMinor)).toEqual([1_200n, 500n])
    expect(lines[1]?.breakdown.at(-1)).toMatchObject({ type: 'proration', days: 17, of_days: 31 })
  })

  test('parts sum to the whole wherever a period of any length is cut', () => {
    const cases = fc.record({
      amount: fc.nat(10_000_000),
      zone: fc.constantFrom(ZONE, ...ODD_ZONES),
      interval: fc.constantFrom(
        'day' as const,
        'week' as const,
        'month' as const,
        'quarter' as const,
        'half_year' as const,
      ),
      every: fc.integer({ min: 1, max: 3 }),
      basis: fc.constantFrom('day' as const, 'second' as const),
      minute: fc.integer({ min: 27_000_000, max: 29_000_000 }),
      cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
    })
    fc.assert(
      fc.property(cases, ({ amount, zone, interval, every, basis, minute, cuts }) => {
        const startMs = minute * 60_000
        const whole = periodAt({ startMs, interval, every, zone, alignment: 'anniversary' }, startMs)!
        const length = (whole.endMs - whole.startMs) / 60_000
        const inside = cuts.map((share) => whole.startMs + Math.floor(share * length) * 60_000)
        const bounds = [...new Set([whole.startMs, ...inside, whole.endMs])].sort((a, b) => a - b)
        const price = flat((amount / 100).toFixed(2))
        const parts = bounds
          .slice(1)
          .map((endMs, index) => draft(price, { ...whole, startMs: bounds[index]!, endMs }, basis, zone))
        expect(parts.reduce((sum, { totalMinor }) => sum + totalMinor, 0n)).toBe(BigInt(amount))
      }),
      { numRuns: runs(100) },
    )
  })
})
