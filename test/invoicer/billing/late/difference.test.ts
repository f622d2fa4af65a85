import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { settleDifference } from '../../../../invoicer/billing/late/difference.ts'
import { draftInvoice } from '../../../../invoicer/billing/lines.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { parseQuantity, ZERO } from '../../../../schemas/quantity.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'

const tiers = [
  { up_to: '10', unit_amount: '0.333', flat_amount: '1.005' },
  { up_to: '50', unit_amount: '0.2' },
  { up_to: null, unit_amount: '0.125' },
]
const PRICES: Price[] = [
  { model: 'per_unit', unit_amount: '0.0005' },
  { model: 'per_unit', unit_amount: '0.335', minimum_amount: '25', maximum_amount: '40' },
  { model: 'graduated', tiers, included_units: '3.5' },
  { model: 'volume', tiers, discount_percent: '12.5' },
  { model: 'package', amount: '4', package_size: '12' },
]
const PERIOD = { index: 0, startMs: NOVEMBER, endMs: DECEMBER, wholeStartMs: NOVEMBER, wholeEndMs: DECEMBER }

/** What a whole period with its true-up costs of all usage known. */
function costOf(price: Price, quantities: readonly number[]): bigint {
  const charges = [{ key: 'use', name: 'Use', meter: 'm', price }]
  const plan = { id: 'p', key: 'p', currency: 'USD', charges, prorationBasis: 'second' }
  const quantity = quantities.reduce((sum, one) => sum.plus(parseQuantity(one.toFixed(2))), ZERO)
  const usage = { quantity, events: quantities.length, digest: 0n }
  return draftInvoice(plan as never, PERIOD, () => usage, 'UTC').totalMinor
}

/** Steps of a period's life: what arrives, or is voided, before each run; and whether an invoice takes what waits. */
const life = fc.array(
  fc.record({
    arrive: fc.array(fc.integer({ min: 1, max: 9_999 }), { maxLength: 4 }),
    voids: fc.nat({ max: 2 }),
    invoices: fc.boolean(),
  }),
  { minLength: 1, maxLength: 8 },
)

/** billing-rules "Usage that comes late, and corrections", worked through by a model of its own. */
describe('the difference to what was billed', () => {
  test('brings all that was billed to the price of everything known, however it came', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...PRICES),
        fc.array(fc.integer({ min: 1, max: 9_999 })),
        life,
        (price, first, steps) => {
          let known = first.map((one) => one / 100)
          const linesMinor = costOf(price, known)
          let [adjustedMinor, waitingMinor, invoicedMinor, backMinor] = [0n, 0n, linesMinor, 0n]
          for (const { arrive, voids, invoices } of steps) {
            known = [...known, ...arrive.map((one) => one / 100)].slice(voids)
            const nowMinor = costOf(price, known)
            const settled = settleDifference(nowMinor, { linesMinor, adjustedMinor, waitingMinor })
            expect(settled.pendingMinor - settled.backMinor).toBe(settled.differenceMinor)
            adjustedMinor += settled.differenceMinor
            waitingMinor += settled.pendingMinor
            backMinor += settled.backMinor
            expect(waitingMinor >= 0n && backMinor >= 0n && backMinor <= invoicedMinor).toBe(true)
            // Σ billed + adjustments = price(all), and so is what was invoiced, waits, and was given back.
            expect([linesMinor + adjustedMinor, invoicedMinor + waitingMinor - backMinor]).toEqual([nowMinor, nowMinor])
            const again = settleDifference(nowMinor, { linesMinor, adjustedMinor, waitingMinor })
            expect(again).toEqual({ differenceMinor: 0n, pendingMinor: 0n, backMinor: 0n })
            if (invoices) [invoicedMinor, waitingMinor] = [invoicedMinor + waitingMinor, 0n]
          }
        },
      ),
    )
  })

  test('sums to the same in any order of arrival', () => {
    const events = fc.array(fc.integer({ min: 1, max: 9_999 }), { minLength: 1, maxLength: 8 })
    const orders = events.chain((all) =>
      fc.tuple(fc.constant(all), fc.shuffledSubarray(all, { minLength: all.length })),
    )
    const billedBy = (price: Price, order: readonly number[]) =>
      order.reduce((billed, _, index) => {
        const nowMinor = costOf(
          price,
          order.slice(0, index + 1).map((one) => one / 100),
        )
        return (
          billed +
          settleDifference(nowMinor, { linesMinor: billed, adjustedMinor: 0n, waitingMinor: 0n }).differenceMinor
        )
      }, 0n)
    fc.assert(
      fc.property(fc.constantFrom(...PRICES), orders, (price, [one, other]) => {
        expect(billedBy(price, one)).toBe(billedBy(price, other))
      }),
    )
  })

  test('is 0 under a minimum', () => {
    const price: Price = { model: 'per_unit', unit_amount: '1', minimum_amount: '100' }
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 5_000 }), (first, later) => {
        const linesMinor = costOf(price, [first / 100])
        const nowMinor = costOf(price, [first / 100, later / 100])
        const { differenceMinor } = settleDifference(nowMinor, { linesMinor, adjustedMinor: 0n, waitingMinor: 0n })
        expect(differenceMinor).toBe(0n)
      }),
    )
  })
})
