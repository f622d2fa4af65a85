import { expect, test } from 'vitest'
import { isDowngrade } from '../../../invoicer/billing/is-downgrade.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'
import { storedPlan } from '../support/world.ts'

const plan = (...prices: Price[]) =>
  storedPlan({
    charges: prices.map((price, n) => ({ key: `c${n}`, name: 'C', meter: price.model === 'flat' ? null : 'm', price })),
  })
const flat = (amount: string, minimum?: string): Price => {
  return { model: 'flat', amount, ...(minimum === undefined ? {} : { minimum_amount: minimum }) }
}

test.each<[boolean, 'month' | 'year', string, 'month' | 'year', string]>([
  [true, 'month', '100', 'year', '1199'],
  [false, 'month', '100', 'year', '1200'],
  [false, 'year', '1199', 'month', '100'],
  [true, 'year', '1201', 'month', '100'],
])('with other periods (%s) by the fee of a day', (expected, interval, fee, other, otherFee) => {
  const of = (every: 'month' | 'year', amount: string) => ({ ...plan(flat(amount)), interval: every })
  expect(isDowngrade(of(interval, fee), of(other, otherFee))).toBe(expected)
})

test.each<[boolean, Price[], Price[]]>([
  [true, [flat('20')], [flat('5')]],
  [false, [flat('5')], [flat('20')]],
  [false, [flat('5')], [flat('5')]],
  // A fee of 5 that costs 30 at least is no lower than one of 20.
  [false, [flat('20')], [flat('5', '30')]],
  [true, [flat('5', '30')], [flat('20')]],
  [true, [flat('20', '1')], [flat('19.99', '2')]],
  // Of each charge by itself: 10 and 8 against 17.
  [true, [flat('10', '1'), flat('1', '8')], [flat('17')]],
  // Below a cent it is the same invoice; what usage costs at least is no fee.
  [false, [flat('5.001')], [flat('5')]],
  [false, [flat('5')], [flat('5'), { model: 'per_unit', unit_amount: '1', minimum_amount: '50' }]],
])('a downgrade (%s) is told by the fees of a period, their minimums included', (expected, from, to) => {
  expect(isDowngrade(plan(...from), plan(...to))).toBe(expected)
})
