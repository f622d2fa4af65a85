import { type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { UsedEvent } from './breakdown.ts'

/** How much of a quantity is beyond the included units. What is below 0 took none of them. */
export function beyondIncluded(quantity: Quantity, included: Quantity): Quantity {
  if (quantity.isNegative()) return quantity
  return quantity.greaterThan(included) ? quantity.minus(included) : ZERO
}

/**
 * Asked for one event after the other: what of it is beyond the included units, which are the first ones. An event within
 * them is gone, the one in which they end is cut, so that the rest has as many units as the total is beyond them.
 */
export function firstOnesIncluded(included: Quantity): (event: UsedEvent) => UsedEvent | undefined {
  let total = ZERO
  let before = ZERO
  return (event) => {
    total = total.plus(event.value)
    const beyond = beyondIncluded(total, included)
    const value = beyond.minus(before)
    before = beyond
    const isIncluded = value.isZero() && total.lessThanOrEqualTo(included)
    return isIncluded ? undefined : { ...event, value }
  }
}
