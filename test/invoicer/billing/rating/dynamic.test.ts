import { expect, test } from 'vitest'
import { rateDynamic } from '../../../../invoicer/billing/rating/dynamic.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'

test('a dynamic price is the metered amount times the multiplier, exactly', () => {
  const { exact, breakdown } = rateDynamic({ model: 'dynamic', multiplier: '1.33333' }, parseQuantity('10'))
  expect(exact.toFixed()).toBe('13.3333')
  expect(breakdown).toEqual([{ type: 'dynamic', quantity: '10', multiplier: '1.33333', amount: '13.3333' }])
})

test('a multiplier of 0 gives it away', () => {
  expect(rateDynamic({ model: 'dynamic', multiplier: '0' }, parseQuantity('-10')).breakdown[0]?.amount).toBe('0')
})
