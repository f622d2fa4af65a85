import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import type { Rated } from './breakdown.ts'
import type { FlatPrice } from './price.ts'

/** The amount of the price; the quantity plays no part, and 0 is charged like any other. */
export function rateFlat(price: FlatPrice): Rated {
  const exact = parseQuantity(price.amount)
  return { exact, breakdown: [{ type: 'flat', amount: formatQuantity(exact) }] }
}
