import { formatQuantity, isQuantityText, parseQuantity } from '../../../schemas/quantity.ts'

/** What one asks the product for. */
export type Call = { method: 'POST' | 'PATCH'; path: string; body: object }

/** What a product or a coupon of a file would change. */
export type EntryDifference = {
  kind: 'product' | 'coupon'
  key: string
  isNew: boolean
  lines: string[]
  /** What makes it so, in this order; the first one can be rehearsed. */
  calls: Call[]
  /** Why it cannot be applied. */
  refused: string[]
}

/** A decimal spelled in one way, so that "1.0" is "1"; what is none is left to the product, which refuses it. */
export function plainDecimal(text: string): string {
  return isQuantityText(text) ? formatQuantity(parseQuantity(text)) : text
}

/** Members in the order of their names. */
export function byName<Value>(members: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.fromEntries(Object.entries(members).sort(([a], [b]) => (a < b ? -1 : 1)))
}
