import { formatQuantity, parseQuantity, type Quantity } from '../../../schemas/quantity.ts'
import type { FlatPrice, Rated } from './price.ts'

/** The amount of the price; the quantity plays no part, and 0 is charged like any other. */
export function rateFlat(price: FlatPrice, _quantity: Quantity): Rated {
  const exact = parseQuantity(price.amount)
  return { exact, breakdown: [{ type: 'flat', amount: formatQuantity(exact) }] }
}
