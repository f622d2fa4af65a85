import type { TenantId } from '../../../schemas/http/door.ts'
import type { Problem } from '../../../schemas/http/problem.ts'
import type { Period } from '../../../schemas/time/period.ts'
import type { Plan } from '../../agreements/plans/plan.ts'
import type { Draw } from '../commitments/draw.ts'
import { type Due, type DueSubscription, duePeriods } from '../due.ts'
import type { BilledFee } from '../fees/billed-fee.ts'
import { feesOfPeriod, feesOnInvoice, hasFeesAhead } from '../fees/fees-on-invoice.ts'
import { asBilled, feesToBill } from '../fees/fees-to-bill.ts'
import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import { type ItemsOf, withItems } from '../items/with-items.ts'
import { checkDraft, draftShares, untaxedDraft, withLinesBefore } from '../lines.ts'
import { lessProgress } from '../progressive/progress.ts'
import type { Price } from '../rating/price.ts'
import { type RatablePeriod, ratable, sharesOf, usageRequests, withLaterDraws } from '../shares.ts'
import { type MeteredUsage, readQuantities, type UsageReader, type UsageRequest } from '../usage.ts'

export type Parked = { subscription: DueSubscription; periodStartMs: number; reason: string }
/** `more` says that a subscription has further due periods, for another pass. */
export type RatedChunk = { invoices: RatedInvoice[]; parked: Parked[]; more: boolean }

/** What a plan id stands for, or why it cannot be billed. */
export type PlanOf = (planId: string) => Plan<Price> | Problem

/** A subscription that starts years ago is billed in passes, so that a transaction stays small. */
const PERIODS_PER_PASS = 12

type Answers = ReadonlyMap<string, MeteredUsage>
/** `refused`: the period behind those that can be rated cannot. */
type Work = { subscription: DueSubscription; periods: RatablePeriod[]; due: Due; refused: Parked | undefined }

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
  itemsOf: ItemsOf = () => [],
): Promise<RatedChunk> {
  const rated: RatedChunk = { invoices: [], parked: [], more: false }
  const work = chunk.flatMap((subscription) => dueWork(subscription, planOf, run.asOfMs, rated) ?? [])
  const answers = await readQuantities(usage, tenantId, new Date(run.knownBeforeMs), work.flatMap(requestsOf))
  for (const item of work) rateSubscription(item, answers, { asOfMs: run.asOfMs, planOf }, itemsOf, rated)
  return rated
}

function dueWork(subscription: DueSubscription, planOf: PlanOf, asOfMs: number, rated: RatedChunk): Work | undefined {
  const { terms, next, graceMs } = subscription
  return orPark(rated, subscription, next.startMs, () => {
    const due = duePeriods(terms, next, graceMs, asOfMs, PERIODS_PER_PASS)
    return { subscription, due, ...ratableUntilRefused(subscription, due.periods, planOf) }
  })
}

/** A plan that cannot be billed does not keep the periods before it from being. */
function ratableUntilRefused(
  subscription: DueSubscription,
  due: readonly Period[],
  planOf: PlanOf,
): Pick<Work, 'periods' | 'refused'> {
  const periods: RatablePeriod[] = []
  const told: Pick<RatedChunk, 'parked'> = { parked: [] }
  for (const period of due) {
    const one = orPark(told, subscription, period.startMs, () => ratable(subscription, period, planOf))
    if (one === undefined) break
    periods.push(one)
  }
  return { periods, refused: told.parked[0] }
}

function requestsOf({ subscription, periods }: Work): UsageRequest[] {
  return periods.flatMap((period) => usageRequests(subscription.id, subscription.subjects, period))
}

/** What waits for the subscription comes with the first of its periods, and fees in advance before all else. */
function rateSubscription(
  { subscription, periods, due, refused }: Work,
  answers: Answers,
  by: { asOfMs: number; planOf: PlanOf },
  itemsOf: ItemsOf,
  to: RatedChunk,
): void {
  const { id, terms } = subscription
  const { planOf } = by
  const hasFees = hasFeesAhead(subscription, planOf)
  // What invoices of this pass bill in advance, the later ones of it have to know.
  let billed: readonly BilledFee[] = subscription.billedFees ?? []
  const drawn: Draw[] = []
  if (hasFees) {
    const first = feesInvoice(subscription, due, billed, by, to)
    if (first === undefined) return
    to.invoices.push(...first)
    billed = [...billed, ...first.flatMap(({ draft }) => asBilled(draft.lines))]
  }
  for (const [index, ratablePeriod] of periods.entries()) {
    const { period, plan } = ratablePeriod
    const next = due.periods[index + 1] ?? due.next ?? null
    const invoice = orPark(to, subscription, period.startMs, (): RatedInvoice => {
      const fees = hasFees ? feesOnInvoice(subscription, period, next, planOf, billed) : { lines: [], dueMs: null }
      const shares = withLaterDraws(sharesOf(id, ratablePeriod, answers, terms.zone), drawn)
      const whole = withLinesBefore(fees.lines, draftShares(shares))
      const rated = lessProgress(whole, subscription.progress, period, plan.currency)
      const of = { planId: plan.id, period, currency: plan.currency }
      const draft = withItems(rated, index === 0 ? itemsOf(subscription) : [], of)
      return { subscription, plan, period, next, draft, feesDueMs: fees.dueMs }
    })
    if (invoice === undefined) return
    to.invoices.push(invoice)
    if (hasFees) billed = [...billed, ...asBilled(invoice.draft.lines)]
    drawn.push(...invoice.draft.lines.flatMap(({ draw }) => draw ?? []))
  }
  if (refused !== undefined) {
    to.parked.push(refused)
    return
  }
  if (due.more) to.more = true
  if (due.mismatch !== undefined && due.next !== undefined) {
    to.parked.push({ subscription, periodStartMs: due.next.startMs, reason: due.mismatch })
  }
}

/** An invoice of its own for fees of the first period, where they are due by now; undefined if that had to be parked. */
function feesInvoice(
  subscription: DueSubscription,
  due: Due,
  billed: readonly BilledFee[],
  { asOfMs, planOf }: { asOfMs: number; planOf: PlanOf },
  to: RatedChunk,
): RatedInvoice[] | undefined {
  const { feesDueMs } = subscription
  const period = due.periods[0] ?? due.next
  if (feesDueMs == null || period === undefined || feesDueMs > asOfMs) return []
  // Of a period that is billed again it is not: they belong to the one that runs.
  if (feesDueMs < period.startMs || feesDueMs >= period.endMs) return []
  return orPark(to, subscription, period.startMs, () => {
    const { plan } = ratable(subscription, period, planOf)
    const fees = feesToBill(feesOfPeriod(subscription, period, planOf), billed, period, plan.currency)
    const draft = untaxedDraft(fees)
    checkDraft(draft)
    return [{ subscription, plan, period, next: period, draft, offCycle: true, claimsFees: true }]
  })
}

function orPark<T>(
  to: Pick<RatedChunk, 'parked'>,
  subscription: DueSubscription,
  periodStartMs: number,
  work: () => T,
): T | undefined {
  try {
    return work()
  } catch (error) {
    to.parked.push({ subscription, periodStartMs, reason: error instanceof Error ? error.message : String(error) })
    return undefined
  }
}
