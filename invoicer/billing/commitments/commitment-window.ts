import { roundToMinor } from '../../../schemas/money.ts'
import { parseQuantity, ZERO } from '../../../schemas/quantity.ts'
import type { Period } from '../../../schemas/time/period.ts'
import { firstPeriodFrom, periodsFrom } from '../../agreements/subscriptions/periods.ts'
import type { Terms } from '../../agreements/subscriptions/subscription.ts'
import type { ToRate } from '../due.ts'
import { settled } from '../proration.ts'
import type { Price } from '../rating/price.ts'
import { lengthOf, type ProrationBasis, type Span } from '../unused.ts'

/** The periods for which a subscription committed to an amount, as its phases say now. */
export type CommitmentWindow = Span & {
  /** Of the agreed amount what holds for the time in which the plan is billed. */
  committedMinor: bigint
  /** Where the last of that time ends: behind it the commitment is settled. */
  servedUntilMs: number
}
type Agreed = Pick<ToRate, 'planId' | 'phases' | 'terms'>
type Served = Span & { bills: boolean }

/**
 * The window of a plan's charge that holds an instant at which the plan is billed. Windows follow one another from where the
 * plan begins to be billed, each of `commitment_periods` billing periods, for as long as it stays; neither a pause nor another
 * plan within one period interrupts it. Where the plan is billed for less than whole periods the commitment is prorated:
 * amount × Σ (served ÷ whole) ÷ periods.
 */
export function commitmentWindow(
  agreed: Agreed,
  planId: string,
  { commitment_amount: amount = '0', commitment_periods: count = 1 }: Price,
  atMs: number,
  basis: ProrationBasis,
  currency: string,
): CommitmentWindow {
  const run = runHolding(agreed, servedTimes(agreed, planId), atMs)
  const periods = periodsHolding(agreed, run, atMs, count)
  const [first, last] = [periods[0], periods.at(-1)]
  const span = { startMs: Math.max(first?.startMs ?? atMs, run[0]?.startMs ?? atMs), endMs: last?.endMs ?? atMs }
  const billed = run.filter(({ bills, startMs, endMs }) => bills && startMs < span.endMs && endMs > span.startMs)
  const servedUntilMs = Math.min(billed.at(-1)?.endMs ?? span.endMs, span.endMs)
  const shares = periods.map((period) => shareOf(period, billed, basis))
  const isWhole = shares.length === count && shares.every(({ served, whole }) => served === whole)
  const agreedAmount = parseQuantity(amount)
  const served = shares.reduce((sum, share) => sum.plus(ZERO.plus(share.served).div(share.whole)), ZERO)
  const committed = isWhole ? agreedAmount : agreedAmount.times(served).div(count)
  return { ...span, committedMinor: roundToMinor(settled(committed), currency), servedUntilMs }
}

/** When a subscription has the plan, as its own or beside it, in order. */
function servedTimes({ planId: first, phases, terms }: Agreed, planId: string): Served[] {
  const untilMs = terms.endMs ?? Number.POSITIVE_INFINITY
  const all = [{ startMs: terms.startMs, planId: first, bills: true, addOns: undefined }, ...(phases ?? [])]
  return all.flatMap((phase, index): Served[] => {
    const startMs = Math.max(phase.startMs, terms.startMs)
    const endMs = Math.min(all[index + 1]?.startMs ?? untilMs, untilMs)
    const has = phase.planId === planId || phase.addOns?.some((addOn) => addOn.planId === planId) === true
    return has && startMs < endMs ? [{ startMs, endMs, bills: phase.bills }] : []
  })
}

/** Times that meet, or nearly, around an instant; from where they begin to be billed. */
function runHolding({ terms }: Agreed, times: readonly Served[], atMs: number): Served[] {
  let run: Served[] = []
  for (const time of times) {
    const last = run.at(-1)
    if (last !== undefined && last.endMs < time.startMs && !isWithinPeriod(terms, last.endMs, time.startMs)) {
      if (last.endMs > atMs) return run
      run = []
    }
    if (run.length > 0 || time.bills) run.push(time)
  }
  return run
}

/** Whether both lie in one period: usage of all its parts is one quantity. */
function isWithinPeriod(terms: Terms, endMs: number, startMs: number): boolean {
  const period = firstPeriodFrom(terms, endMs - 1)
  return period !== undefined && startMs < period.endMs
}

/** Up to `count` periods, counted from where the times begin; fewer where they end before. */
function periodsHolding({ terms }: Agreed, run: readonly Served[], atMs: number, count: number): Period[] {
  const [first, last] = [run[0], run.at(-1)]
  let periods: Period[] = []
  if (first === undefined || last === undefined) return periods
  for (const period of periodsFrom(terms, first.startMs)) {
    if (period.startMs >= last.endMs) return periods
    if (periods.length === count) periods = []
    periods.push(period)
    if (periods.length === count && period.endMs > atMs) return periods
  }
  return periods
}

function shareOf(period: Period, billed: readonly Span[], basis: ProrationBasis): { served: number; whole: number } {
  const served = billed.reduce((sum, { startMs, endMs }) => {
    const [from, to] = [Math.max(startMs, period.startMs), Math.min(endMs, period.endMs)]
    return from < to ? sum + lengthOf(from, to, basis) : sum
  }, 0)
  return { served, whole: lengthOf(period.wholeStartMs, period.wholeEndMs, basis) }
}
