import { formatQuantity, parseQuantity, type Quantity } from '../../../schemas/quantity.ts'
import type { BoundEntry } from './breakdown.ts'
import type { Price } from './price.ts'

/** What is left of an amount after the price's discount in percent. */
export function discounted(price: Price, amount: Quantity): Quantity {
  if (price.discount_percent === undefined) return amount
  return amount.minus(amount.times(parseQuantity(price.discount_percent)).div(100))
}

/** The model's amount after the discount, then the maximum; and what each took off, as `show` writes it. */
export function bounded(
  price: Price,
  amount: Quantity,
  show: (amount: Quantity) => string = formatQuantity,
): { exact: Quantity; entries: BoundEntry[] } {
  const entries: BoundEntry[] = []
  let exact = discounted(price, amount)
  if (price.discount_percent !== undefined) {
    const percent = formatQuantity(parseQuantity(price.discount_percent))
    entries.push({ type: 'discount', percent, amount: show(exact.minus(amount)) })
  }
  const most = price.maximum_amount === undefined ? undefined : parseQuantity(price.maximum_amount)
  if (most?.lessThan(exact)) {
    const cut = most.minus(exact)
    entries.push({ type: 'maximum', maximum_amount: formatQuantity(most), amount: show(cut) })
    exact = most
  }
  return { exact, entries }
}

/** What a line lacks to the minimum, both rounded: a line of its own at the period's end. 0 where it lacks nothing. */
export function trueUpMinor(minimumMinor: bigint, lineMinor: bigint): bigint {
  return minimumMinor > lineMinor ? minimumMinor - lineMinor : 0n
}
