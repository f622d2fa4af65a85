import { formatQuantity, parseQuantity, type Quantity } from '../../../schemas/quantity.ts'
import type { Rated } from './breakdown.ts'
import type { PerUnitPrice } from './price.ts'

/** Quantity × unit amount. */
export function ratePerUnit(price: PerUnitPrice, quantity: Quantity): Rated {
  const unitAmount = parseQuantity(price.unit_amount)
  const exact = unitAmount.times(quantity)
  return {
    exact,
    breakdown: [
      {
        type: 'per_unit',
        quantity: formatQuantity(quantity),
        unit_amount: formatQuantity(unitAmount),
        amount: formatQuantity(exact),
      },
    ],
  }
}
