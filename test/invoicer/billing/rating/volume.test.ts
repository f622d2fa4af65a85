import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { VolumePrice } from '../../../../invoicer/billing/rating/price.ts'
import { rateVolume } from '../../../../invoicer/billing/rating/volume.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'
import { runs } from '../../../support/runs.ts'

const price: VolumePrice = {
  model: 'volume',
  tiers: [
    { up_to: '100', unit_amount: '2', flat_amount: '10' },
    { up_to: '200.5', unit_amount: '1' },
    { up_to: null, unit_amount: '0.5', flat_amount: '50' },
  ],
}
const exactly = (quantity: string) => rateVolume(price, parseQuantity(quantity)).exact.toFixed()

describe('a volume price (billing-rules, Tiers)', () => {
  test.each([
    ['0', '10'],
    ['100', '210'],
    ['100.000000000001', '100.000000000001'],
    ['200.5', '200.5'],
    ['200.51', '150.255'],
    ['-3', '4'],
  ])('prices all of %s in the tier it reaches: %s', (quantity, amount) => {
    expect(exactly(quantity)).toBe(amount)
  })

  test('shows that tier alone', () => {
    expect(rateVolume(price, parseQuantity('300')).breakdown).toEqual([
      { type: 'tier', tier: 3, up_to: null, quantity: '300', unit_amount: '0.5', flat_amount: '50', amount: '200' },
    ])
  })

  test('is proportional within a tier, flat amounts aside', () => {
    fc.assert(
      fc.property(fc.integer({ min: 201, max: 100_000 }), fc.integer({ min: 201, max: 100_000 }), (a, b) => {
        const beyondFlat = (units: number) => rateVolume(price, parseQuantity(String(units))).exact.minus(50)
        expect(beyondFlat(a).plus(beyondFlat(b)).toFixed()).toBe(beyondFlat(a + b).toFixed())
      }),
      { numRuns: runs(200) },
    )
  })
})
