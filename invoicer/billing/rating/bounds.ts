import { roundToMinor } from '../../../schemas/money.ts'
import { formatQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { BoundEntry } from './breakdown.ts'
import type { Price } from './price.ts'
import { priceDecimal } from './price-decimal.ts'

/** What is left of an amount after the price's discount in percent. */
export function discounted(price: Price, amount: Quantity): Quantity {
  if (price.discount_percent === undefined) return amount
  return amount.minus(amount.times(priceDecimal(price.discount_percent).value).div(100))
}

/** Whether its commitment is one of several periods: then none of them alone says what goes beyond it, or lacks to it. */
export function isOfSeveralPeriods({ commitment_amount, commitment_periods: periods }: Price): boolean {
  return commitment_amount !== undefined && periods !== undefined && periods > 1
}

/** The commitment that each period has for itself. */
function ownCommitment(price: Price): string | undefined {
  return isOfSeveralPeriods(price) ? undefined : price.commitment_amount
}

/** Whether anything stands between the model's amount and the line's. */
export function isBounded({ discount_percent, commitment_amount, maximum_amount }: Price): boolean {
  return discount_percent !== undefined || commitment_amount !== undefined || maximum_amount !== undefined
}

/** The least that a charge comes to by the end of its period; undefined where it may come to nothing. */
export function leastOf(price: Price): Quantity | undefined {
  const { minimum_amount: minimum } = price
  const commitment = ownCommitment(price)
  if (minimum === undefined && commitment === undefined) return undefined
  const [one, other] = [minimum, commitment].flatMap((text) => (text === undefined ? [] : [priceDecimal(text).value]))
  return one !== undefined && other?.greaterThan(one) ? other : one
}

/**
 * The model's amount after the discount, then the overage beyond the commitment, then the maximum; and what each took off or
 * added, as `show` writes it. Of a cut period `share` says what part of the commitment holds.
 */
export function bounded(
  price: Price,
  amount: Quantity,
  show: (amount: Quantity) => string = formatQuantity,
  share: (amount: Quantity) => Quantity = (whole) => whole,
): { exact: Quantity; entries: BoundEntry[] } {
  const entries: BoundEntry[] = []
  let exact = discounted(price, amount)
  if (price.discount_percent !== undefined) {
    const percent = priceDecimal(price.discount_percent).text
    entries.push({ type: 'discount', percent, amount: show(exact.minus(amount)) })
  }
  const commitment = ownCommitment(price)
  if (commitment !== undefined && price.overage_factor !== undefined) {
    const committed = share(priceDecimal(commitment).value)
    const { value: factor, text: overage_factor } = priceDecimal(price.overage_factor)
    const more = exact.greaterThan(committed) ? exact.minus(committed).times(factor.minus(1)) : ZERO
    if (!more.isZero()) {
      entries.push({ type: 'overage', commitment_amount: show(committed), overage_factor, amount: show(more) })
      exact = exact.plus(more)
    }
  }
  const most = price.maximum_amount === undefined ? undefined : priceDecimal(price.maximum_amount)
  if (most?.value.lessThan(exact)) {
    entries.push({ type: 'maximum', maximum_amount: most.text, amount: show(most.value.minus(exact)) })
    exact = most.value
  }
  return { exact, entries }
}

/** The same for what is rounded already: parts of a fee, added up. A maximum is not prorated. */
export function atMost(maximum: string | undefined, amountMinor: bigint, currency: string): bigint {
  if (maximum === undefined) return amountMinor
  const maximumMinor = roundToMinor(priceDecimal(maximum).value, currency)
  return amountMinor > maximumMinor ? maximumMinor : amountMinor
}

/** What a line lacks to the minimum, both rounded: a line of its own at the period's end. 0 where it lacks nothing. */
export function trueUpMinor(minimumMinor: bigint, lineMinor: bigint): bigint {
  return minimumMinor > lineMinor ? minimumMinor - lineMinor : 0n
}
