import { type Period, periodsBetween } from '../../../schemas/time/period.ts'
import type { Terms } from './subscription.ts'

/**
 * The periods of a subscription from an instant on, in order and computed from its start, never from one another. They
 * end with the contract, or never: take what is needed.
 */
export function periodsFrom(terms: Terms, fromMs: number): Generator<Period, void, undefined> {
  return periodsBetween(terms, fromMs, Number.POSITIVE_INFINITY)
}

/** The first period that ends after an instant; undefined from the contract's end on. */
export function firstPeriodFrom(terms: Terms, fromMs: number): Period | undefined {
  const first = periodsFrom(terms, fromMs).next()
  return first.done === true ? undefined : first.value
}
