import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ratePerUnit } from '../../../../invoicer/billing/rating/per-unit.ts'
import { parseQuantity, quantityOfInteger } from '../../../../schemas/quantity.ts'

const SCALE = quantityOfInteger(10n ** 12n)
const perUnit = (unitAmount: string) => ({ model: 'per_unit', unit_amount: unitAmount }) as const

describe('a price per unit', () => {
  test.each([
    ['R12', '0.0005', '30', '0.015'],
    ['the demo', '0.000003', '2182292', '6.546876'],
    ['nothing used', '0.5', '0', '0'],
    ['a fraction', '3', '0.333333333333', '0.999999999999'],
    ['a correction', '2', '-3', '-6'],
  ])('%s: %s × %s is %s before rounding', (_id, unitAmount, quantity, exact) => {
    const rated = ratePerUnit(perUnit(unitAmount), parseQuantity(quantity))
    expect(rated.exact.toFixed()).toBe(exact)
    expect(rated.breakdown).toEqual([{ type: 'per_unit', quantity, unit_amount: unitAmount, amount: exact }])
  })

  test('is exact to the last of 76 digits, and additive', () => {
    const scaled = fc.bigInt(0n, 10n ** 38n - 1n)
    fc.assert(
      fc.property(scaled, scaled, scaled, (price, a, b) => {
        const [unit, x, y] = [price, a, b].map((value) => quantityOfInteger(value).div(SCALE))
        const rate = (quantity = x!) => ratePerUnit(perUnit(unit!.toFixed()), quantity).exact
        expect(BigInt(rate(x).times(SCALE).times(SCALE).toFixed())).toBe(price * a)
        expect(rate(x!.plus(y!)).equals(rate(x).plus(rate(y)))).toBe(true)
      }),
      { numRuns: 1000 },
    )
  })
})
