import { expect, test } from 'vitest'
import type { BilledFee } from '../../../../invoicer/billing/fees/billed-fee.ts'
import { asBilled, feesToBill } from '../../../../invoicer/billing/fees/fees-to-bill.ts'
import type { Line } from '../../../../invoicer/billing/lines.ts'
import { DECEMBER, JANUARY } from '../../support/world.ts'

const PERIOD = { startMs: DECEMBER, endMs: JANUARY }
const OF = { planId: 'p', chargeKey: 'base', description: 'Base' }
const feeOf = (amountMinor: bigint): Line => ({
  ...{ ...OF, meter: null, usage: null, breakdown: [], amountMinor },
  ...{ period: PERIOD, fee: PERIOD },
})
/** 100.00, of which a discount took 20.00. */
const HUNDRED: BilledFee = {
  ...{ ...OF, periodStartMs: DECEMBER, served: PERIOD, amountMinor: 10_000n, discountMinor: -2_000n },
  ...{ tax: null, sellerId: null },
}
/** Settles the fee at one amount after the other, as invoices of one period would; what each of them billed. */
function settled(amounts: readonly bigint[]): bigint[] {
  const billed = [HUNDRED]
  return amounts.map((amountMinor) => {
    const lines = feesToBill([feeOf(amountMinor)], billed, PERIOD, 'USD')
    billed.push(...asBilled(lines))
    return lines.reduce((sum, line) => sum + line.amountMinor, 0n)
  })
}

/** billing-rules "Proration", "Discounts": what is given back was paid; of 80.00 paid, a half is 40.00. */
test('a discounted fee that was settled is not given back again, nor the discount twice', () => {
  expect(settled([5_000n, 5_000n])).toEqual([-4_000n, 0n])
  expect(settled([5_000n, 2_500n])).toEqual([-4_000n, -2_000n])
})

test('however often it is settled, all of it gives back what was paid', () => {
  expect(settled([0n])).toEqual([-8_000n])
  expect(settled([7_500n, 7_000n, 1n, 0n]).reduce((sum, one) => sum + one, 0n)).toBe(-8_000n)
})
