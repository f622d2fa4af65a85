import { expect, test } from 'vitest'
import { bounded, discounted, leastOf, trueUpMinor } from '../../../../invoicer/billing/rating/bounds.ts'
import { checkPrice } from '../../../../invoicer/billing/rating/check-price.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { rateCharge, rateExact } from '../../../../invoicer/billing/rating/rate.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'

const perUnit = (bounds: Partial<Price>): Price => ({ model: 'per_unit', unit_amount: '10', ...bounds }) as Price

test('the discount comes before the maximum, and each says what it took off', () => {
  const { exact, entries } = bounded(perUnit({ discount_percent: '10', maximum_amount: '80' }), parseQuantity('100'))
  expect(exact.toFixed()).toBe('80')
  expect(entries).toEqual([
    { type: 'discount', percent: '10', amount: '-10' },
    { type: 'maximum', maximum_amount: '80', amount: '-10' },
  ])
  expect(discounted(perUnit({}), parseQuantity('7')).toFixed()).toBe('7')
})

test('a maximum of 0 lets nothing be charged, and one that is not reached is not shown', () => {
  expect(bounded(perUnit({ maximum_amount: '0' }), parseQuantity('5')).exact.toFixed()).toBe('0')
  expect(bounded(perUnit({ maximum_amount: '5.00' }), parseQuantity('5')).entries).toEqual([])
})

test('included units come first: 12 units, 10 included, 50 % off, at most 100', () => {
  const price = perUnit({ included_units: '10', discount_percent: '50', maximum_amount: '100' })
  const { exact, breakdown } = rateExact(price, parseQuantity('12'))
  expect(exact.toFixed()).toBe('10')
  expect(breakdown).toEqual([
    { type: 'included', quantity: '10', amount: '0' },
    { type: 'per_unit', quantity: '2', unit_amount: '10', amount: '20' },
    { type: 'discount', percent: '50', amount: '-10' },
  ])
})

test('a minimum is no part of the line', () => {
  expect(rateCharge(perUnit({ minimum_amount: '100' }), parseQuantity('1'), 'USD').amountMinor).toBe(1000n)
})

test.each([
  [100n, 40n, 60n],
  [100n, 100n, 0n],
  [100n, 101n, 0n],
  [100n, -1n, 101n],
])('to the minimum of %s a line of %s lacks %s', (minimum, line, missing) => {
  expect(trueUpMinor(minimum, line)).toBe(missing)
})

/** billing-rules "Tiers", Commitment: used up first, the overage factor beyond it, the true-up at the period's end. */
test.each([
  ['50', '50'],
  ['100', '100'],
  ['150', '160'],
])('of a commitment of 100 and a factor of 1.2, %s come to %s', (amount, expected) => {
  const price = perUnit({ commitment_amount: '100', overage_factor: '1.2' })
  expect(bounded(price, parseQuantity(amount)).exact.toFixed()).toBe(expected)
  expect(leastOf(price)?.toFixed()).toBe('100')
})

test('the overage counts behind the discount and before the maximum', () => {
  const price = perUnit({
    ...{ discount_percent: '50', commitment_amount: '100', overage_factor: '2', maximum_amount: '290' },
  })
  const { exact, entries } = bounded(price, parseQuantity('400'))
  expect(exact.toFixed()).toBe('290')
  expect(entries).toEqual([
    { type: 'discount', percent: '50', amount: '-200' },
    { type: 'overage', commitment_amount: '100', overage_factor: '2', amount: '100' },
    { type: 'maximum', maximum_amount: '290', amount: '-10' },
  ])
})

test('of a cut period so much of the commitment holds as of the period', () => {
  const price = perUnit({ commitment_amount: '100', overage_factor: '2' })
  const half = bounded(price, parseQuantity('80'), undefined, (whole) => whole.div(2))
  expect(half.exact.toFixed()).toBe('110')
})

test('what a charge comes to at least is the larger of minimum and commitment', () => {
  expect(leastOf(perUnit({}))).toBeUndefined()
  expect(leastOf(perUnit({ minimum_amount: '7', commitment_amount: '5' }))?.toFixed()).toBe('7')
  expect(leastOf(perUnit({ minimum_amount: '7', commitment_amount: '9' }))?.toFixed()).toBe('9')
})

test('a factor without a commitment, and a commitment of a flat price, say nothing and are refused', () => {
  expect(checkPrice(perUnit({ overage_factor: '1.2' }))).toMatchObject([{ path: '/overage_factor' }])
  expect(checkPrice({ model: 'flat', amount: '1', commitment_amount: '5' })).toMatchObject([
    { path: '/commitment_amount' },
  ])
})

test('a commitment of several periods bounds none of them alone, and takes no other bound beside it', () => {
  const several = { commitment_amount: '100', overage_factor: '2', commitment_periods: 3 }
  expect(bounded(perUnit(several), parseQuantity('150')).exact.toFixed()).toBe('150')
  expect(leastOf(perUnit(several))).toBeUndefined()
  expect(leastOf(perUnit({ ...several, commitment_periods: 1 }))?.toFixed()).toBe('100')
  expect(checkPrice(perUnit(several))).toEqual([])
  const beside = perUnit({ ...several, minimum_amount: '1', maximum_amount: '2' })
  expect(checkPrice(beside)).toMatchObject([{ path: '/minimum_amount' }, { path: '/maximum_amount' }])
  expect(checkPrice({ ...beside, commitment_periods: 1 })).toEqual([])
  expect(checkPrice(perUnit({ commitment_periods: 3 }))).toMatchObject([{ path: '/commitment_periods' }])
})
