import { describe, expect, test } from 'vitest'
import { rateFlat } from '../../../../invoicer/billing/rating/flat.ts'
import { rateExact } from '../../../../invoicer/billing/rating/rate.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'

describe('a flat price', () => {
  test('is its amount', () => {
    const { exact, breakdown } = rateFlat({ model: 'flat', amount: '20.000' })
    expect(exact.toFixed()).toBe('20')
    expect(breakdown).toEqual([{ type: 'flat', amount: '20' }])
  })

  test.each(['0', '1', '2182292', '0.5'])('is the same at quantity %s', (quantity) => {
    expect(rateExact({ model: 'flat', amount: '20' }, parseQuantity(quantity)).exact.toFixed()).toBe('20')
  })
})
