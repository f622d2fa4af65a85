import { expect, test } from 'vitest'
import { bounded, discounted, trueUpMinor } from '../../../../invoicer/billing/rating/bounds.ts'
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
