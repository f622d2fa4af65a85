import { formatQuantity, parseQuantity, type Quantity } from '../../../schemas/quantity.ts'

/** A decimal of a price, and its canonical text. */
export type PriceDecimal = { value: Quantity; text: string }

const KEPT = 10_000
const known = new Map<string, PriceDecimal>()

/**
 * A decimal as a price writes it. Prices come in few texts, each for many subscriptions, and a quantity never changes: so
 * each text is read once, and written once.
 * @throws Problem as parseQuantity.
 */
export function priceDecimal(text: string): PriceDecimal {
  const found = known.get(text)
  if (found !== undefined) return found
  const value = parseQuantity(text)
  const decimal = { value, text: formatQuantity(value) }
  if (known.size >= KEPT) known.clear()
  known.set(text, decimal)
  return decimal
}
