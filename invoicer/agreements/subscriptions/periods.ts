import { type Period, periodsBetween, type Schedule } from '../../../schemas/time/period.ts'
import type { Terms } from './subscription.ts'

/** Every interval: plans with multiples come with the billing engine. */
const EVERY = 1

/**
 * The periods of a subscription from an instant on, in order and computed from its start, never from one another. They
 * end with the contract, or never: take what is needed.
 */
export function periodsFrom(terms: Terms, fromMs: number): Generator<Period, void, undefined> {
  const schedule: Schedule = { ...terms, every: EVERY }
  return periodsBetween(schedule, fromMs, Number.POSITIVE_INFINITY)
}

/** The first period that ends after an instant; undefined from the contract's end on. */
export function firstPeriodFrom(terms: Terms, fromMs: number): Period | undefined {
  const first = periodsFrom(terms, fromMs).next()
  return first.done === true ? undefined : first.value
}
