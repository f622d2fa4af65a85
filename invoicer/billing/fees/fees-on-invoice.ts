import type { Period } from '../../../schemas/time/period.ts'
import { billsFeesAhead } from '../../agreements/plans/plan.ts'
import type { ToRate } from '../due.ts'
import { draftShares, type Line, linesAhead, type Share } from '../lines.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { planIdsOf, ratable } from '../shares.ts'
import { NO_USAGE } from '../usage.ts'
import type { BilledFee } from './billed-fee.ts'
import { asBilled, feesToBill } from './fees-to-bill.ts'

type Subscription = Pick<ToRate, 'planId' | 'phases' | 'terms' | 'feesDueMs' | 'feesUntilMs' | 'billedFees'>
/**
 * Fees on the invoice of a period: what changed of those of the period itself, which were billed in advance, and those of
 * the next. `dueMs`: when those of the next are due on an invoice of their own, because none of it is billed as it begins.
 */
export type FeesOnInvoice = { lines: Line[]; dueMs: number | null }

/** Whether anything was or is to be billed in advance: of most subscriptions nothing. */
export function hasFeesAhead(subscription: Subscription, planOf: PlanOf): boolean {
  const { feesDueMs, billedFees } = subscription
  if (feesDueMs != null || (billedFees !== undefined && billedFees.length > 0)) return true
  return planIdsOf(subscription).some((id) => {
    const plan = planOf(id)
    return !(plan instanceof Error) && billsFeesAhead(plan)
  })
}

/** @throws Problem for a plan that cannot be rated. */
export function feesOnInvoice(
  subscription: Subscription,
  period: Period,
  next: Period | null,
  planOf: PlanOf,
  billed: readonly BilledFee[],
): FeesOnInvoice {
  const own = feesToBill(feesOfPeriod(subscription, period, planOf), billed, period, currencyOf(subscription, planOf))
  if (next === null) return { lines: own, dueMs: null }
  const fees = feesOfPeriod(subscription, next, planOf)
  const [first, ...others] = fees.map((line) => line.period.startMs)
  const dueMs = first === undefined ? null : Math.min(first, ...others)
  // Nobody pays ahead for what may be cancelled before it begins: a trial ends, a pause is over.
  if (dueMs !== null && dueMs > next.startMs) return { lines: own, dueMs }
  return { lines: [...own, ...feesToBill(fees, billed, next, currencyOf(subscription, planOf))], dueMs: null }
}

/**
 * Fees in advance that a period costs by the phases of its subscription: each plan's for the parts that it is billed for.
 * @throws Problem for a plan that cannot be rated.
 */
export function feesOfPeriod(subscription: Subscription, period: Period, planOf: PlanOf): Line[] {
  const owed = owedFor(subscription, period)
  const fee = { startMs: owed.startMs, endMs: owed.endMs }
  return linesAhead(unused(subscription, owed, planOf)).map((line) => ({ ...line, fee }))
}

/**
 * Fees of a period that nobody billed and that are due behind an instant, as what they will have billed: those of a trial, or
 * of a pause, that is to end then, and may be cancelled before. @throws Problem as above.
 */
export function feesDueBehind(
  subscription: Subscription,
  period: Period,
  planOf: PlanOf,
  billed: readonly BilledFee[],
  atMs: number,
): BilledFee[] {
  if (billed.some(({ periodStartMs }) => periodStartMs === period.startMs)) return []
  const fees = feesOfPeriod(subscription, period, planOf)
  return fees.every((line) => line.period.startMs > atMs) ? asBilled(fees) : []
}

/** All fees of a period by the phases of its subscription, whenever they are billed. @throws Problem as above. */
export function allFeesOf(subscription: Subscription, period: Period, planOf: PlanOf): Line[] {
  const shares = unused(subscription, period, planOf)
  return [...draftShares(shares).lines.filter(({ meter }) => meter === null), ...linesAhead(shares)]
}

/** Fees need no usage. */
function unused(subscription: Subscription, period: Period, planOf: PlanOf): Share[] {
  const { zone } = subscription.terms
  return ratable(subscription, period, planOf).portions.map((portion) => {
    return { ...portion, zone, usageOf: () => NO_USAGE }
  })
}

/** Fees that were not given back are owed behind the end of the subscription. */
function owedFor({ terms, feesUntilMs }: Subscription, period: Period): Period {
  if (feesUntilMs == null || period.endMs !== terms.endMs || feesUntilMs <= period.endMs) return period
  return { ...period, endMs: Math.min(feesUntilMs, period.wholeEndMs) }
}

/** All plans of a subscription have one. */
function currencyOf({ planId }: Subscription, planOf: PlanOf): string {
  const plan = planOf(planId)
  if (plan instanceof Error) throw plan
  return plan.currency
}
