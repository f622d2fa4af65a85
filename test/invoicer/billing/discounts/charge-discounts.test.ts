import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ChargeDiscounts, offNow } from '../../../../invoicer/billing/discounts/charge-discounts.ts'

const of = (grossMinor: bigint, percentOffMinor: bigint, amountOffMinor: bigint, percents: string[]) => ({
  ...{ grossMinor, percentOffMinor, amountOffMinor, percents },
})

/** billing-rules "Usage that comes late": amounts are not applied again, percent coupons of that period are. */
describe('what discounts take off a charge that costs something else now', () => {
  test('percentages take their part of the difference, each of what the one before it left', () => {
    const billed = of(10_000n, 2_000n, 0n, ['20'])
    expect(offNow(billed, 15_000n, 'USD')).toBe(3_000n)
    expect(offNow(billed, 5_000n, 'USD')).toBe(1_000n)
    expect(offNow(of(10_000n, 2_800n, 0n, ['20', '10']), 20_000n, 'USD')).toBe(5_600n)
    expect(offNow(of(0n, 0n, 0n, ['20']), 1_000n, 'USD')).toBe(200n)
  })

  test('an amount is taken once, and given back no more than was paid', () => {
    const billed = of(10_000n, 2_000n, 1_000n, ['20'])
    expect(offNow(billed, 20_000n, 'USD')).toBe(5_000n)
    expect(offNow(billed, 1_000n, 'USD')).toBe(1_000n)
    expect(offNow(billed, 0n, 'USD')).toBe(0n)
    expect(offNow(billed, -500n, 'USD')).toBe(0n)
  })

  test('is what was taken where nothing changed, and leaves from 0 to all of the cost', () => {
    const cost = fc.bigInt({ min: 0n, max: 1_000_000n })
    const part = fc.nat(1_000)
    const percents = fc.array(fc.integer({ min: 1, max: 100 }).map(String), { maxLength: 3 })
    fc.assert(
      fc.property(cost, cost, part, part, percents, (gross, now, share, rest, all) => {
        const percentOff = all.length === 0 ? 0n : (gross * BigInt(share)) / 1_000n
        const billed: ChargeDiscounts = of(gross, percentOff, ((gross - percentOff) * BigInt(rest)) / 1_000n, all)
        expect(offNow(billed, gross, 'USD')).toBe(billed.percentOffMinor + billed.amountOffMinor)
        const off = offNow(billed, now, 'USD')
        expect(off >= 0n && off <= now).toBe(true)
      }),
    )
  })
})
