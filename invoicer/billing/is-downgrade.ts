import { Value } from 'typebox/value'
import { roundToMinor } from '../../schemas/money.ts'
import { parseQuantity, ZERO } from '../../schemas/quantity.ts'
import type { Plan } from '../agreements/plans/plan.ts'
import { trueUpMinor } from './rating/bounds.ts'
import { Price } from './rating/price.ts'
import { rateCharge } from './rating/rate.ts'

/** Whether the recurring fee of a plan is lower than that of another whose periods are as long. */
export function isDowngrade(from: Plan, to: Plan): boolean {
  return feeMinor(to) < feeMinor(from)
}

/** What a period costs that nothing is used in, but for tiers and minimums of usage: fees, each its minimum at least. */
function feeMinor({ charges, currency }: Plan): bigint {
  return charges.reduce((sum, { price }) => {
    if (price.model !== 'flat' || !Value.Check(Price, price)) return sum
    const { amountMinor } = rateCharge(price, ZERO, currency)
    const minimumMinor = roundToMinor(parseQuantity(price.minimum_amount ?? '0'), currency)
    return sum + amountMinor + trueUpMinor(minimumMinor, amountMinor)
  }, 0n)
}
