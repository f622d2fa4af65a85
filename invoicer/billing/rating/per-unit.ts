import { formatQuantity, type Quantity } from '../../../schemas/quantity.ts'
import type { Rated } from './breakdown.ts'
import type { PerUnitPrice } from './price.ts'
import { priceDecimal } from './price-decimal.ts'

/** Quantity × unit amount. */
export function ratePerUnit(price: PerUnitPrice, quantity: Quantity): Rated {
  const unitAmount = priceDecimal(price.unit_amount)
  const exact = unitAmount.value.times(quantity)
  return {
    exact,
    breakdown: [
      {
        type: 'per_unit',
        quantity: formatQuantity(quantity),
        unit_amount: unitAmount.text,
        amount: formatQuantity(exact),
      },
    ],
  }
}
