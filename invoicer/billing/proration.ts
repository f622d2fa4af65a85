import { roundToMinor } from '../../schemas/money.ts'
import { formatQuantity, parseQuantity, type Quantity, ZERO } from '../../schemas/quantity.ts'
import type { Period } from '../../schemas/time/period.ts'
import type { BreakdownEntry } from './rating/price.ts'

/**
 * How a cut period changed an amount: by the second, `seconds` of `of_seconds` remain. The amount is shown with at most
 * 12 places; thirds would fill pages.
 */
export type ProrationEntry = { type: 'proration'; seconds: number; of_seconds: number; amount: string }

const SHOWN_PLACES = 12

/** Whether the subscription's start or end cuts the period, so that it is shorter than the whole one. */
export function isCut(period: Period): boolean {
  return period.startMs > period.wholeStartMs || period.endMs < period.wholeEndMs
}

/**
 * What a period's part costs of an amount for the whole: unused(start) − unused(end), so that the parts of a period
 * always sum to the whole, whatever their rounding.
 */
export function proratedMinor(amount: Quantity, period: Period, currency: string): bigint {
  return (
    roundToMinor(unused(amount, period.startMs, period), currency) -
    roundToMinor(unused(amount, period.endMs, period), currency)
  )
}

/** What proration takes off an amount that stands for the whole period, exactly: 0 or less. */
export function prorationCut(amount: Quantity, period: Period): Quantity {
  return unused(amount, period.startMs, period)
    .minus(unused(amount, period.endMs, period))
    .minus(amount)
}

/** The same, to be read. */
export function prorationEntry(amount: Quantity, period: Period): ProrationEntry {
  return {
    type: 'proration',
    seconds: (period.endMs - period.startMs) / 1000,
    of_seconds: (period.wholeEndMs - period.wholeStartMs) / 1000,
    amount: formatQuantity(prorationCut(amount, period).toDecimalPlaces(SHOWN_PLACES)),
  }
}

/** The flat amounts of entered tiers: the part of a usage charge that a cut period prorates. */
export function tierFlats(breakdown: readonly BreakdownEntry[]): Quantity {
  return breakdown.reduce(
    (sum, entry) => (entry.type === 'tier' ? sum.plus(parseQuantity(entry.flat_amount)) : sum),
    ZERO,
  )
}

/** amount × (end − t) ÷ length, over the whole period; the product first, so that a tie is met exactly. */
function unused(amount: Quantity, atMs: number, period: Period): Quantity {
  return amount.times(period.wholeEndMs - atMs).div(period.wholeEndMs - period.wholeStartMs)
}
