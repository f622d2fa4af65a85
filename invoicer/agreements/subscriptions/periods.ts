import { type Period, periodsBetween } from '../../../schemas/time/period.ts'
import type { Recurrence, Terms } from './subscription.ts'

/**
 * The periods of a subscription from an instant on, in order and computed from its start, never from one another. Where
 * they begin anew, the one that runs is cut, and those behind are computed from there. They end with the contract, or
 * never: take what is needed.
 */
export function* periodsFrom(terms: Terms, fromMs: number): Generator<Period, void, undefined> {
  const { later = [], ...first } = terms
  for (const [place, recurring] of [first, ...later].entries()) {
    const untilMs = Math.min(later[place]?.startMs ?? Number.POSITIVE_INFINITY, terms.endMs ?? Number.POSITIVE_INFINITY)
    const endMs = untilMs === Number.POSITIVE_INFINITY ? null : untilMs
    if (untilMs > Math.max(fromMs, recurring.startMs)) {
      yield* periodsBetween({ ...first, ...recurring, endMs }, fromMs, Number.POSITIVE_INFINITY)
    }
  }
}

/** The first period that ends after an instant; undefined from the contract's end on. */
export function firstPeriodFrom(terms: Terms, fromMs: number): Period | undefined {
  const first = periodsFrom(terms, fromMs).next()
  return first.done === true ? undefined : first.value
}

/** Where periods begin anew: with phases whose plans recur otherwise than what was before. */
export function recurringLater(
  first: Recurrence,
  phases: readonly { startMs: number; periods: Recurrence }[],
): NonNullable<Terms['later']> {
  return phases.flatMap(({ startMs, periods }, index) => {
    const { interval, every, alignment } = periods
    return isSameRecurrence(phases[index - 1]?.periods ?? first, periods)
      ? []
      : [{ startMs, interval, every, alignment }]
  })
}

export function isSameRecurrence(a: Recurrence, b: Recurrence): boolean {
  return a.interval === b.interval && a.every === b.every && a.alignment === b.alignment
}
