import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { ZERO } from '../../../schemas/quantity.ts'
import type { Period } from '../../../schemas/time/period.ts'
import type { Plan } from '../../agreements/plans/plan.ts'
import { type Due, type DueSubscription, duePeriods } from '../due.ts'
import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import { draftInvoice } from '../lines.ts'
import type { Price } from '../rating/price.ts'
import type { MeteredUsage, UsageReader, UsageRequest } from '../usage.ts'

export type Parked = { subscription: DueSubscription; periodStartMs: number; reason: string }
/** `more` says that a subscription has further due periods, for another pass. */
export type RatedChunk = { invoices: RatedInvoice[]; parked: Parked[]; more: boolean }

/** What a plan id stands for, or why it cannot be billed. */
export type PlanOf = (planId: string) => Plan<Price> | Problem

/** A subscription that starts years ago is billed in passes, so that a transaction stays small. */
const PERIODS_PER_PASS = 12
const NO_USAGE: MeteredUsage = { quantity: ZERO, events: 0, digest: 0n }

type Work = { subscription: DueSubscription; plan: Plan<Price>; due: Due }

/**
 * Rates every due period of a chunk of subscriptions with one reading of usage. A subscription that cannot be rated is
 * parked from that period on, and the rest go on; a reading that fails throws, because nothing is known then.
 */
export async function rateChunk(
  usage: UsageReader,
  tenantId: TenantId,
  run: { asOfMs: number; knownBeforeMs: number },
  chunk: readonly DueSubscription[],
  planOf: PlanOf,
): Promise<RatedChunk> {
  const rated: RatedChunk = { invoices: [], parked: [], more: false }
  const work = chunk.flatMap((subscription) => dueWork(subscription, planOf, run.asOfMs, rated) ?? [])
  const requests = usageRequests(work)
  const answers =
    requests.length === 0
      ? new Map<string, MeteredUsage>()
      : await usage.quantities(tenantId, new Date(run.knownBeforeMs), requests)
  for (const { key } of requests) {
    if (!answers.has(key)) throw new Problem('calculation_failed', 'Usage was not answered for every subscription.')
  }
  for (const item of work) rateSubscription(item, answers, rated)
  return rated
}

function dueWork(subscription: DueSubscription, planOf: PlanOf, asOfMs: number, rated: RatedChunk): Work | undefined {
  const { terms, next, graceMs } = subscription
  return orPark(rated, subscription, next.startMs, () => {
    const plan = planOf(subscription.planId)
    if (plan instanceof Problem) throw plan
    return { subscription, plan, due: duePeriods(terms, next, graceMs, asOfMs, PERIODS_PER_PASS) }
  })
}

/** One request per subscription, meter and period, though several charges may price the meter. */
function usageRequests(work: readonly Work[]): UsageRequest[] {
  return work.flatMap(({ subscription, plan, due }) => {
    const { subjects } = subscription
    // Nobody's usage is nothing, and needs no reading.
    if (subjects.length === 0) return []
    const meters = [...new Set(plan.charges.flatMap((charge) => charge.meter ?? []))]
    return due.periods.flatMap((period) =>
      meters.map((meter) => ({
        key: usageKey(subscription, meter, period),
        meter,
        subjects,
        startMs: period.startMs,
        endMs: period.endMs,
      })),
    )
  })
}

function rateSubscription({ subscription, plan, due }: Work, answers: Map<string, MeteredUsage>, to: RatedChunk): void {
  for (const [index, period] of due.periods.entries()) {
    const draft = orPark(to, subscription, period.startMs, () =>
      draftInvoice(plan, period, (meter) => answers.get(usageKey(subscription, meter, period)) ?? NO_USAGE),
    )
    if (draft === undefined) return
    to.invoices.push({ subscription, plan, period, next: due.periods[index + 1] ?? due.next ?? null, draft })
  }
  if (due.more) to.more = true
  if (due.mismatch !== undefined && due.next !== undefined) {
    to.parked.push({ subscription, periodStartMs: due.next.startMs, reason: due.mismatch })
  }
}

function orPark<T>(to: RatedChunk, subscription: DueSubscription, periodStartMs: number, work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    to.parked.push({ subscription, periodStartMs, reason: error instanceof Error ? error.message : String(error) })
    return undefined
  }
}

function usageKey(subscription: DueSubscription, meter: string, period: Period): string {
  return `${subscription.id}/${meter}/${period.startMs}`
}
