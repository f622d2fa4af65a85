import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { discountChunk } from '../discounts/discount-chunk.ts'
import { loadDiscounts } from '../discounts/discounts.postgres.ts'
import { billedPeriod, type DueSubscription, payerIdOf, type ToRate } from '../due.ts'
import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import { draftShares, type Line, untaxedDraft } from '../lines.ts'
import { listToRate } from '../preview/to-rate.postgres.ts'
import type { BillDeps, RateDeps } from '../run/bill-due.ts'
import { loadPlans, type PlanCache } from '../run/billable-plans.ts'
import type { BillingRun } from '../run/billing-run.ts'
import { issueChunk } from '../run/issue-chunk.ts'
import type { Parked, PlanOf, RatedChunk } from '../run/rate-chunk.ts'
import { taxChunk } from '../run/tax-chunk.ts'
import { planIdsOf, type RatablePeriod, ratable, sharesOf, usageRequests } from '../shares.ts'
import { taxWithoutStripe } from '../tax/tax-port.ts'
import { loadTaxes } from '../tax/taxes.postgres.ts'
import { type MeteredUsage, readQuantities } from '../usage.ts'
import { listLevels, listThresholds, type Threshold } from './progress.postgres.ts'
import { lessProgress, progressOf } from './progress.ts'

type Looked = Pick<BillingRun, 'asOfMs' | 'knownBeforeMs'>
/** Which thresholds are looked at: but for those that the run, or any since a moment, has parked. */
type Asked = Looked & { runId: string | null; parkedSinceMs: number | null }

/**
 * Issues an invoice inside of each running period whose metered charges came to its threshold more than was billed of them:
 * all of them from the first unit on, less what the progressive invoices before it billed. Its claim is the subscription as
 * it was rated (claim.ts): of two runners one issues it, and the other finds the period below its threshold. It comes behind
 * what is due, so that the period before has its invoice. Without thresholds it is one statement. False when the process is
 * to stop first.
 */
export async function billProgressive(deps: BillDeps, tenantId: TenantId, run: BillingRun): Promise<boolean> {
  const plans: PlanCache = new Map()
  let after: string | null = null
  for (;;) {
    if (deps.stopping()) return false
    const chunk: ProgressiveChunk | undefined = await rateProgressive(deps, plans, tenantId, askedBy(run), after)
    if (chunk === undefined) return true
    if (chunk.invoices.length + chunk.parked.length > 0) await issueChunk(deps, tenantId, run, chunk)
    after = chunk.lastId
  }
}

export function askedBy({ id: runId, asOfMs, knownBeforeMs }: BillingRun): Asked {
  return { runId, asOfMs, knownBeforeMs, parkedSinceMs: null }
}

type ProgressiveChunk = RatedChunk & { lastId: string }

/** The next of these invoices, tax included, as they would be issued; undefined behind the last. Nothing is stored. */
export async function rateProgressive(
  deps: RateDeps,
  plans: PlanCache,
  tenantId: TenantId,
  asked: Asked,
  after: string | null,
): Promise<ProgressiveChunk | undefined> {
  const reached = await listReached(deps, plans, tenantId, asked, after)
  if (reached === undefined) return undefined
  const { invoices, parked, lastId } = reached
  const own = invoices.map(({ subscription }) => subscription)
  const { taxOf, discountsOf } = await deps.transact(tenantId, async (tx) => ({
    taxOf: await loadTaxes(tx, own.map(payerIdOf)),
    discountsOf: await loadDiscounts(tx, own, asked.knownBeforeMs),
  }))
  const discounted = discountChunk({ invoices, parked, more: false }, discountsOf)
  return { ...(await taxChunk(deps.tax ?? taxWithoutStripe, taxOf, discounted, asked.asOfMs)), lastId }
}

/** Those before discounts and tax; undefined behind the last. */
export async function listReached(
  deps: RateDeps,
  plans: PlanCache,
  tenantId: TenantId,
  asked: Asked,
  after: string | null,
): Promise<Omit<ProgressiveChunk, 'more'> | undefined> {
  const page = { after, limit: deps.chunkSize }
  const { thresholds, subscriptions, levels } = await deps.transact(tenantId, (tx) => readThresholds(tx, asked, page))
  const lastId = thresholds.at(-1)?.subscriptionId
  if (lastId === undefined) return undefined
  const planOf = await loadPlans(deps.transact, tenantId, plans, subscriptions.flatMap(planIdsOf))
  const parked: Parked[] = []
  const work = subscriptions.flatMap((subscription) => workOn(subscription, planOf, parked))
  const requests = work.flatMap(({ subscription, rated }) =>
    usageRequests(subscription.id, subscription.subjects, rated),
  )
  const answers = await readQuantities(deps.usage, tenantId, new Date(asked.knownBeforeMs), requests)
  const thresholdOf = new Map(thresholds.map((one) => [one.subscriptionId, one.thresholdMinor]))
  const invoices = work.flatMap((one): RatedInvoice[] =>
    orPark(parked, one.subscription, () => reached(one, answers, levels, thresholdOf.get(one.subscription.id) ?? null)),
  )
  return { invoices, parked, lastId }
}

async function readThresholds(tx: TenantTransaction, asked: Asked, page: { after: string | null; limit: number }) {
  const thresholds: Threshold[] = await listThresholds(tx, asked, page)
  if (thresholds.length === 0) return { thresholds, subscriptions: [], levels: new Set<string>() }
  const ids = thresholds.map(({ subscriptionId }) => subscriptionId)
  return { thresholds, subscriptions: await listToRate(tx, ids), levels: await listLevels(tx) }
}

type Work = { subscription: DueSubscription; rated: RatablePeriod }

function workOn(found: ToRate, planOf: PlanOf, parked: Parked[]): Work[] {
  const { next, terms } = found
  if (next === null || hasFeesToCome(found)) return []
  const subscription: DueSubscription = { ...found, next }
  return orPark(parked, subscription, () => [
    { subscription, rated: ratable(subscription, billedPeriod(terms, next), planOf) },
  ])
}

/** Fees of the period that are to have an invoice of their own before any other: limited coupons count in that order. */
function hasFeesToCome({ next, feesDueMs }: ToRate): boolean {
  return next !== null && feesDueMs != null && feesDueMs < next.endMs
}

/** No invoice below the threshold. Fees, true-ups, levels and what draws a commitment are billed as the period is over. */
function reached(
  { subscription, rated }: Work,
  answers: ReadonlyMap<string, MeteredUsage>,
  levels: ReadonlySet<string>,
  thresholdMinor: bigint | null,
): RatedInvoice[] {
  const { period, plan } = rated
  const all = draftShares(sharesOf(subscription.id, rated, answers, subscription.terms.zone)).lines
  const lines = all.filter(
    ({ meter, usage, draw }) => meter !== null && usage !== null && draw === undefined && !levels.has(meter),
  )
  const billed = progressOf(subscription.progress, period)
  const differenceMinor = grossOf(lines) - billed.reduce((sum, { grossMinor }) => sum + grossMinor, 0n)
  if (thresholdMinor === null || differenceMinor < thresholdMinor) return []
  const draft = lessProgress(untaxedDraft(lines), subscription.progress, period, plan.currency)
  return [{ subscription, plan, period, next: null, draft, offCycle: true, progressive: true }]
}

function grossOf(lines: readonly Line[]): bigint {
  return lines.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
}

function orPark<T>(parked: Parked[], subscription: DueSubscription, work: () => T[]): T[] {
  try {
    return work()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    parked.push({ subscription, periodStartMs: subscription.next.startMs, reason })
    return []
  }
}
