import { Value } from 'typebox/value'
import { roundToMinor } from '../../schemas/money.ts'
import { parseQuantity, ZERO } from '../../schemas/quantity.ts'
import type { Interval } from '../../schemas/time/period.ts'
import type { Plan } from '../agreements/plans/plan.ts'
import { trueUpMinor } from './rating/bounds.ts'
import { Price } from './rating/price.ts'
import { rateCharge } from './rating/rate.ts'

/** Millionths of the days that an interval has on average. */
const MICRODAYS: Record<Interval, bigint> = {
  day: 1_000_000n,
  week: 7_000_000n,
  month: 30_436_875n,
  quarter: 91_310_625n,
  half_year: 182_621_250n,
  year: 365_242_500n,
}

/** Whether the recurring fee of a plan per day is lower than that of another. */
export function isDowngrade(from: Plan, to: Plan): boolean {
  return feeMinor(to) * microdaysOf(from) < feeMinor(from) * microdaysOf(to)
}

function microdaysOf({ interval, every }: Plan): bigint {
  return MICRODAYS[interval] * BigInt(every)
}

/**
 * What a period costs that nothing is used in, but for tiers and minimums of usage: fees, each its minimum at least, at the
 * quantities that stand as their defaults.
 */
function feeMinor({ charges, currency }: Plan): bigint {
  return charges.reduce((sum, { price, meter, quantity }) => {
    if (meter !== null || !Value.Check(Price, price)) return sum
    const { amountMinor } = rateCharge(price, quantity ? parseQuantity(quantity.default) : ZERO, currency)
    const minimumMinor = roundToMinor(parseQuantity(price.minimum_amount ?? '0'), currency)
    return sum + amountMinor + trueUpMinor(minimumMinor, amountMinor)
  }, 0n)
}
