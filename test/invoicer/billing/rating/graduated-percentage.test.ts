import { expect, test } from 'vitest'
import { rateGraduatedPercentage } from '../../../../invoicer/billing/rating/graduated-percentage.ts'
import type { GraduatedPercentagePrice } from '../../../../invoicer/billing/rating/price.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'

const price: GraduatedPercentagePrice = {
  model: 'graduated_percentage',
  tiers: [
    { up_to: '1000', rate: '1', flat_amount: '2' },
    { up_to: '2000', rate: '2.5' },
    { up_to: null, rate: '3', flat_amount: '4' },
  ],
}
const rated = (quantity: string) => rateGraduatedPercentage(price, parseQuantity(quantity))

test.each([
  ['0', '2'],
  ['500', '7'],
  ['1000', '12'],
  ['1000.4', '12.01'],
  ['2000', '37'],
  ['3000', '71'],
  ['-100', '1'],
])('a graduated percentage of %s is %s: each part of the total at its tier’s rate', (quantity, amount) => {
  expect(rated(quantity).exact.toFixed()).toBe(amount)
})

test('its breakdown lists the entered tiers', () => {
  expect(rated('1500').breakdown).toEqual([
    { type: 'tier', tier: 1, up_to: '1000', quantity: '1000', rate: '1', flat_amount: '2', amount: '12' },
    { type: 'tier', tier: 2, up_to: '2000', quantity: '500', rate: '2.5', flat_amount: '0', amount: '12.5' },
  ])
})
