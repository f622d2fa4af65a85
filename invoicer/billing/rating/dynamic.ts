import { formatQuantity, parseQuantity, type Quantity } from '../../../schemas/quantity.ts'
import type { Rated } from './breakdown.ts'
import type { DynamicPrice } from './price.ts'

/** The amounts of the events × multiplier. That of their sum is the sum of theirs, so a total is enough. */
export function rateDynamic(price: DynamicPrice, quantity: Quantity): Rated {
  const multiplier = parseQuantity(price.multiplier)
  const exact = multiplier.times(quantity)
  return {
    exact,
    breakdown: [
      {
        type: 'dynamic',
        quantity: formatQuantity(quantity),
        multiplier: formatQuantity(multiplier),
        amount: formatQuantity(exact),
      },
    ],
  }
}
