import { formatQuantity, parseQuantity, type Quantity, ZERO } from '../../schemas/quantity.ts'
import type { Period } from '../../schemas/time/period.ts'
import type { BreakdownEntry } from './rating/breakdown.ts'
import { lengthOf, type ProrationBasis, partMinor, type Span } from './unused.ts'

/**
 * How a cut period changed an amount: `seconds` of `of_seconds` remain or, by days, `days` of `of_days`. The amount is
 * shown with at most 12 places; thirds would fill pages.
 */
export type ProrationEntry = { type: 'proration'; amount: string } & (
  | { seconds: number; of_seconds: number }
  | { days: number; of_days: number }
)

const BY_TIME: ProrationBasis = { unit: 'second', zone: 'UTC' }
const SHOWN_PLACES = 12
const SETTLED_PLACES = 70

/** What of one period is charged, in order; most periods are one part. All of them have the bounds of the whole. */
export type Parts = readonly [Period, ...Period[]]

/** Whether less than the whole period is charged: where a start, an end, a pause or another plan cuts it. */
export function isCut(parts: Parts): boolean {
  return lengthOfParts(parts, BY_TIME) < lengthOfWhole(parts, BY_TIME)
}

/**
 * What a period's parts cost of an amount for the whole: unused(start) − unused(end) of each, so that the parts of a
 * period always sum to the whole, whatever their rounding.
 */
export function proratedMinor(amount: Quantity, parts: Parts, basis: ProrationBasis, currency: string): bigint {
  const costs = parts.map((part) => partMinor(amount, part, wholeOf(parts), basis, currency))
  return costs.reduce((sum, cost) => sum + cost, 0n)
}

/** What proration takes off an amount that stands for the whole period, exactly: 0 or less. */
export function prorationCut(amount: Quantity, parts: Parts, basis: ProrationBasis): Quantity {
  return amount.times(lengthOfParts(parts, basis)).div(lengthOfWhole(parts, basis)).minus(amount)
}

/**
 * An amount with a part that proration divided, to be rounded. Thirtieths end after 100 digits, so that what should be
 * half a cent may lie a hair below it; what differs after 70 places alone is such a hair.
 */
export function settled(amount: Quantity): Quantity {
  return amount.toDecimalPlaces(SETTLED_PLACES)
}

/** The same, to be read. */
export function prorationEntry(amount: Quantity, parts: Parts, basis: ProrationBasis): ProrationEntry {
  const [length, whole] = [lengthOfParts(parts, basis), lengthOfWhole(parts, basis)]
  const type = 'proration'
  const shown = shownAmount(prorationCut(amount, parts, basis))
  return basis.unit === 'day'
    ? { type, amount: shown, days: length, of_days: whole }
    : { type, amount: shown, seconds: length, of_seconds: whole }
}

function lengthOfParts(parts: Parts, basis: ProrationBasis): number {
  return parts.reduce((sum, { startMs, endMs }) => sum + lengthOf(startMs, endMs, basis), 0)
}

function lengthOfWhole(parts: Parts, basis: ProrationBasis): number {
  const { startMs, endMs } = wholeOf(parts)
  return lengthOf(startMs, endMs, basis)
}

function wholeOf([{ wholeStartMs: startMs, wholeEndMs: endMs }]: Parts): Span {
  return { startMs, endMs }
}

/** An amount with a part that proration divided, to be read. */
export function shownAmount(amount: Quantity): string {
  return formatQuantity(amount.toDecimalPlaces(SHOWN_PLACES))
}

/** The flat amounts of entered tiers: the part of a usage charge that a cut period prorates. */
export function tierFlats(breakdown: readonly BreakdownEntry[]): Quantity {
  return breakdown.reduce(
    (sum, entry) => (entry.type === 'tier' ? sum.plus(parseQuantity(entry.flat_amount)) : sum),
    ZERO,
  )
}
