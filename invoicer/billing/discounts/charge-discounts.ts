import { moneyAsQuantity, roundToMinor } from '../../../schemas/money.ts'
import { parseQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'

/**
 * What discounts took off a charge of a period as its invoice billed it: `grossMinor` before them, its true-up included,
 * and of that what percentages and what amounts took. `percents`: those that it had, off nothing too.
 */
export type ChargeDiscounts = {
  grossMinor: bigint
  percentOffMinor: bigint
  amountOffMinor: bigint
  percents: readonly string[]
}

/**
 * What they take off the charge now that it costs `nowMinor`: percentages of the difference too, amounts no more than
 * they did. It depends on nothing but that cost, so differences of it add up whatever came in between; it is what was
 * taken where the cost is what was billed, and never more than the cost.
 */
export function offNow(
  { grossMinor, percentOffMinor, amountOffMinor, percents }: ChargeDiscounts,
  nowMinor: bigint,
  currency: string,
): bigint {
  if (nowMinor <= 0n) return 0n
  const growthMinor = nowMinor - most(grossMinor, 0n)
  const growth = moneyAsQuantity(growthMinor, currency)
  const ofGrowthMinor = roundToMinor(growth.minus(growth.times(shareLeft(percents))), currency)
  const percentMinor = least(most(percentOffMinor + ofGrowthMinor, 0n), nowMinor)
  return percentMinor + least(amountOffMinor, nowMinor - percentMinor)
}

/** Of 1, behind percentages that each take off what the one before it left. */
function shareLeft(percents: readonly string[]): Quantity {
  return percents.reduce((left, percent) => left.minus(left.times(parseQuantity(percent)).div(100)), ZERO.plus(1))
}

function least(a: bigint, b: bigint): bigint {
  return a < b ? a : b
}

function most(a: bigint, b: bigint): bigint {
  return a > b ? a : b
}
