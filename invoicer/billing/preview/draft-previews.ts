import { KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { Period } from '../../../schemas/time/period.ts'
import { periodsFrom } from '../../agreements/subscriptions/periods.ts'
import type { Draw } from '../commitments/draw.ts'
import { discounted } from '../discounts/discounted.ts'
import { asMinuteEnds, type DiscountsOf, decisive, inForce, noDiscounts } from '../discounts/in-force.ts'
import { payerIdOf, type ToRate } from '../due.ts'
import type { BilledFee } from '../fees/billed-fee.ts'
import { feesDueBehind, feesOnInvoice, hasFeesAhead } from '../fees/fees-on-invoice.ts'
import { paidFees } from '../fees/fees-to-bill.ts'
import { type Draft, draftShares, untaxedDraft, withLinesBefore } from '../lines.ts'
import { lessProgress } from '../progressive/progress.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { type RatablePeriod, ratable, sharesOf, usageRequests, withLaterDraws } from '../shares.ts'
import { type TaxEngine, type TaxOf, taxWithoutStripe } from '../tax/tax-port.ts'
import { type MeteredUsage, readQuantities, type UsageReader } from '../usage.ts'
import { usageUntil } from './period-holding.ts'

/**
 * `next`: the period behind it, whose fees its invoice bills where they are in advance; left out: without them.
 * `billedFees`: what counts as billed in advance; left out: what is. `asSpend`: with what of its fees, and by progressive
 * invoices, was billed before.
 * `dueByMs`: without fees of the period itself that nobody billed and that are due behind it; left out: with them.
 */
export type ToPreview = {
  subscription: ToRate
  period: Period
  next?: Period | null
  billedFees?: readonly BilledFee[]
  asSpend?: true
  dueByMs?: number
}

/** Not the present moment: as of a moment, what changed in its hour is counted from events, of which there may be millions. */
const EVERYTHING_KNOWN = new Date(KNOWN_UNTIL_NOW_MS)

/**
 * The invoices that periods would have now, tax included, in their order, with one reading of the usage that is known now. Of
 * one subscription the later ones find commitments drawn by the earlier. What cannot be rated answers why; a reading that
 * fails throws, because nothing is known then. Nothing is stored.
 */
export async function draftPreviews(
  usage: UsageReader,
  tenantId: TenantId,
  nowMs: number,
  wanted: readonly ToPreview[],
  planOf: PlanOf,
  taxOf: TaxOf,
  engine: TaxEngine = taxWithoutStripe,
  discountsOf: DiscountsOf = noDiscounts,
): Promise<(Draft | Error)[]> {
  const all = wanted.map(({ subscription, period }) => orError(() => ratable(subscription, period, planOf)))
  const requests = wanted.flatMap(({ subscription, period }, place) => {
    const one = all[place]
    if (one === undefined || one instanceof Error) return []
    return usageRequests(String(place), subscription.subjects, one, usageUntil(period, nowMs))
  })
  const answers = await readQuantities(usage, tenantId, EVERYTHING_KNOWN, requests)
  const drawnOf = new Map<string, Draw[]>()
  const unknown = new Map<string, Error>()
  const drafts = wanted.map((item, place) => {
    const { subscription } = item
    const one: RatablePeriod | Error = all[place] ?? new Error('Nothing was rated.')
    const before = subscription.draws === undefined ? undefined : unknown.get(subscription.id)
    if (before !== undefined) return before
    if (one instanceof Error) return noted<Draft>(one, subscription, unknown)
    const draft = orError(() => {
      const drawn = drawnOf.get(subscription.id) ?? []
      const whole = drafted(item, one, String(place), answers, planOf, drawn)
      drawnOf.set(subscription.id, [...drawn, ...whole.lines.flatMap(({ draw }) => draw ?? [])])
      const draft = withDiscounts(subscription, one, whole, discountsOf)
      return item.asSpend ? withPaidFees(item, draft) : draft
    })
    return noted(draft, subscription, unknown)
  })
  return Promise.all(
    wanted.map((one, place) => {
      const of = all[place]
      return of instanceof Error ? of : withTax(one, drafts[place], engine, taxOf, nowMs, of?.plan.currency ?? '')
    }),
  )
}

/** What a period drew that cannot be rated is unknown to those behind it. */
function noted<T>(draft: T | Error, { id }: ToRate, unknown: Map<string, Error>): T | Error {
  if (draft instanceof Error) unknown.set(id, draft)
  return draft
}

/** Before discounts and tax. */
function drafted(
  { subscription, period, next = null, billedFees, asSpend, dueByMs }: ToPreview,
  rated: RatablePeriod,
  key: string,
  answers: ReadonlyMap<string, MeteredUsage>,
  planOf: PlanOf,
  drawn: readonly Draw[],
): Draft {
  const shares = withLaterDraws(sharesOf(key, rated, answers, subscription.terms.zone), drawn)
  const whole = draftShares(shares)
  const { currency } = rated.plan
  const draft = asSpend ? whole : lessProgress(whole, subscription.progress, period, currency)
  if (!hasFeesAhead(subscription, planOf)) return draft
  const billed = billedFees ?? subscription.billedFees ?? []
  const later = dueByMs === undefined ? [] : feesDueBehind(subscription, period, planOf, billed, dueByMs)
  return withLinesBefore(feesOnInvoice(subscription, period, next, planOf, [...billed, ...later]).lines, draft)
}

/** Those in force as the period ends; invoices that come before its own count as if they were there. */
function withDiscounts(
  subscription: ToRate,
  { period, plan }: RatablePeriod,
  draft: Draft,
  discountsOf: DiscountsOf,
): Draft {
  const given = discountsOf(subscription)
  const earlier = decisive(given, period.endMs, (fromMs) => dueBefore(subscription, period, fromMs))
  return discounted(draft, inForce(given, period.endMs, earlier), plan.currency).draft
}

/** Behind discounts: what was billed in advance had those of the invoice that billed it. */
function withPaidFees({ subscription, period }: ToPreview, draft: Draft): Draft {
  const paid = paidFees(subscription.billedFees ?? [], period)
  return paid.length === 0 ? draft : untaxedDraft([...draft.lines, ...paid])
}

/** When invoices from an instant on will fall due before that of a period; they are worked out as they are taken. */
function* dueBefore(
  { terms, next, feesDueMs }: ToRate,
  { startMs, endMs }: Period,
  fromMs: number,
): Generator<number, void, undefined> {
  if (next === null) return
  if (feesDueMs != null && feesDueMs < endMs) yield asMinuteEnds(feesDueMs)
  for (const period of periodsFrom(terms, Math.max(next.startMs, fromMs))) {
    if (period.startMs >= startMs) return
    yield period.endMs
  }
}

/** As of the moment at which it can be issued. */
async function withTax(
  { subscription, period }: ToPreview,
  draft: Draft | Error | undefined,
  engine: TaxEngine,
  taxOf: TaxOf,
  nowMs: number,
  currency: string,
): Promise<Draft | Error> {
  const context = taxOf(payerIdOf(subscription))
  if (draft === undefined) return new Error('Nothing was drafted.')
  if (draft instanceof Error || context === undefined) return draft
  try {
    return await engine(draft, context, Math.max(nowMs, period.endMs), currency)
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}

function orError<T>(work: () => T): T | Error {
  try {
    return work()
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}
