import type { Rated } from './breakdown.ts'
import type { FlatPrice } from './price.ts'
import { priceDecimal } from './price-decimal.ts'

/** The amount of the price; the quantity plays no part, and 0 is charged like any other. */
export function rateFlat(price: FlatPrice): Rated {
  const { value: exact, text: amount } = priceDecimal(price.amount)
  return { exact, breakdown: [{ type: 'flat', amount }] }
}
