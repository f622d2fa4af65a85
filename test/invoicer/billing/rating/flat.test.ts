import { describe, expect, test } from 'vitest'
import { rateFlat } from '../../../../invoicer/billing/rating/flat.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'

describe('a flat price', () => {
  test.each(['0', '1', '2182292', '0.5'])('is the same at quantity %s', (quantity) => {
    const { exact, breakdown } = rateFlat({ model: 'flat', amount: '20.000' }, parseQuantity(quantity))
    expect(exact.toFixed()).toBe('20')
    expect(breakdown).toEqual([{ type: 'flat', amount: '20' }])
  })
})
