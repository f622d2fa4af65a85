import { roundToMinor } from '../../schemas/money.ts'
import type { Quantity } from '../../schemas/quantity.ts'
import { daysBetween } from '../../schemas/time/days.ts'

export const PRORATION_BASES = ['second', 'day'] as const
/** What of a period is counted: its seconds, or the calendar days of the customer's zone. */
export type ProrationBasis = { unit: (typeof PRORATION_BASES)[number]; zone: string }
/** Half-open [startMs, endMs), at whole minutes. */
export type Span = { startMs: number; endMs: number }

/**
 * unused(t) = amount × (end − t) ÷ length of the whole period, exactly; the product first, so that a tie of rounding is
 * met. By days, the day of a change belongs to what comes after it, and days before the period's end alone are left.
 */
export function unused(amount: Quantity, atMs: number, whole: Span, basis: ProrationBasis): Quantity {
  return amount.times(lengthOf(atMs, whole.endMs, basis)).div(lengthOf(whole.startMs, whole.endMs, basis))
}

/** unused(t), rounded: the charge for a price from t on; the credit for one until t is its opposite. */
export function unusedMinor(
  amount: Quantity,
  atMs: number,
  whole: Span,
  basis: ProrationBasis,
  currency: string,
): bigint {
  return roundToMinor(unused(amount, atMs, whole, basis), currency)
}

/** What a part of a period costs: unused(start) − unused(end). Parts sum to the whole, wherever it is cut. */
export function partMinor(amount: Quantity, part: Span, whole: Span, basis: ProrationBasis, currency: string): bigint {
  return (
    unusedMinor(amount, part.startMs, whole, basis, currency) - unusedMinor(amount, part.endMs, whole, basis, currency)
  )
}

/** In seconds or days. A period has some if it is to be prorated. */
export function lengthOf(fromMs: number, toMs: number, { unit, zone }: ProrationBasis): number {
  return unit === 'day' ? daysBetween(fromMs, toMs, zone) : (toMs - fromMs) / 1000
}
