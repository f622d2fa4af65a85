import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import { type DueSubscription, payerIdOf, type ToRate } from '../due.ts'
import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import type { PendingItem } from '../items/invoice-item.ts'
import { listLeftWaiting, listPendingItems } from '../items/items.postgres.ts'
import { withItems } from '../items/with-items.ts'
import { untaxedDraft } from '../lines.ts'
import { listToRate } from '../preview/to-rate.postgres.ts'
import { planIdsOf } from '../shares.ts'
import { taxWithoutStripe } from '../tax/tax-port.ts'
import { loadTaxes } from '../tax/taxes.postgres.ts'
import type { BillDeps, RateDeps } from './bill-due.ts'
import { loadPlans, type PlanCache } from './billable-plans.ts'
import type { BillingRun } from './billing-run.ts'
import { issueChunk } from './issue-chunk.ts'
import type { PlanOf, RatedChunk } from './rate-chunk.ts'
import { taxChunk } from './tax-chunk.ts'

const MINUTE_MS = 60_000

/**
 * Issues an invoice of its own for what waits for a subscription that has no further period: late usage of what has
 * ended. Its items are its claim: two runners make one invoice. False when the process is to stop first.
 */
export async function billLeftWaiting(deps: BillDeps, tenantId: TenantId, run: BillingRun): Promise<boolean> {
  const plans: PlanCache = new Map()
  let after: string | null = null
  while (!deps.stopping()) {
    const chunk = await rateLeftChunk(deps, plans, tenantId, run, after)
    if (chunk === undefined) return true
    await issueChunk(deps, tenantId, run, chunk)
    after = chunk.lastId
  }
  return false
}

/** What would wait as well, by subscription. */
export type AlsoWaiting = (subscriptions: readonly ToRate[]) => Promise<ReadonlyMap<string, readonly PendingItem[]>>

/** The next of these invoices, tax included, as they would be issued; undefined behind the last. Nothing is stored. */
export async function rateLeftChunk(
  deps: RateDeps,
  plans: PlanCache,
  tenantId: TenantId,
  run: BillingRun,
  after: string | null,
  alsoWaiting: AlsoWaiting = async () => new Map(),
): Promise<(RatedChunk & { lastId: string }) | undefined> {
  const page = { after, limit: deps.chunkSize }
  const { left, subscriptions, items } = await deps.transact(tenantId, async (tx) => {
    const left = await listLeftWaiting(tx, page)
    if (left.length === 0) return { left, subscriptions: [], items: [] }
    const ids = left.map(({ subscriptionId }) => subscriptionId)
    const found = await listToRate(tx, ids)
    const customerIds = found.map((subscription) => subscription.customerId)
    return { left, subscriptions: found, items: await listPendingItems(tx, customerIds) }
  })
  const lastId = left.at(-1)?.subscriptionId
  if (lastId === undefined) return undefined
  const also = await alsoWaiting(subscriptions)
  const itemById = new Map(items.map((item) => [item.id, item]))
  const itemsOf = new Map(
    left.map(({ subscriptionId, itemIds }) => {
      const own = itemIds.flatMap((id) => itemById.get(id) ?? [])
      return [subscriptionId, [...own, ...(also.get(subscriptionId) ?? [])]]
    }),
  )
  return { ...(await rateLeft(deps, plans, tenantId, run, subscriptions, itemsOf)), lastId }
}

/** Invoices of their own over what waits for these subscriptions, tax included. Nothing is stored. */
export async function rateLeft(
  deps: RateDeps,
  plans: PlanCache,
  tenantId: TenantId,
  run: BillingRun,
  subscriptions: readonly ToRate[],
  itemsOf: ReadonlyMap<string, readonly PendingItem[]>,
): Promise<RatedChunk> {
  const planOf = await loadPlans(deps.transact, tenantId, plans, subscriptions.flatMap(planIdsOf))
  const rated = rateLeftWaiting(subscriptions, itemsOf, planOf, run)
  const taxOf = await deps.transact(tenantId, (tx) => loadTaxes(tx, subscriptions.map(payerIdOf)))
  return taxChunk(deps.tax ?? taxWithoutStripe, taxOf, rated, run.asOfMs)
}

function rateLeftWaiting(
  subscriptions: readonly ToRate[],
  itemsOf: ReadonlyMap<string, readonly PendingItem[]>,
  planOf: PlanOf,
  run: BillingRun,
): RatedChunk {
  const rated: RatedChunk = { invoices: [], parked: [], more: false }
  const byId = new Map(subscriptions.map((subscription) => [subscription.id, subscription]))
  for (const [subscriptionId, own] of itemsOf) {
    const toRate = byId.get(subscriptionId)
    // Somebody else has invoiced them since.
    if (toRate === undefined || own.length === 0) continue
    const period = periodOf(own, run)
    const subscription: DueSubscription = { ...toRate, next: period }
    try {
      const invoice = ownInvoice(subscription, own, planOf, period)
      if (invoice.draft.lines.length > 0) rated.invoices.push(invoice)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      rated.parked.push({ subscription, periodStartMs: period.startMs, reason })
    }
  }
  return rated
}

function ownInvoice(
  subscription: DueSubscription,
  items: readonly PendingItem[],
  planOf: PlanOf,
  { startMs, endMs }: { startMs: number; endMs: number },
): RatedInvoice {
  const corrected = items.findLast(({ corrects }) => corrects !== null)?.corrects
  const plan = planOf(corrected?.planId ?? planIdAtEnd(subscription))
  if (plan instanceof Problem) throw plan
  const period = { index: 0, startMs, endMs, wholeStartMs: startMs, wholeEndMs: endMs }
  const draft = withItems(untaxedDraft([]), items, { planId: plan.id, period, currency: plan.currency })
  return { subscription, plan, period, next: null, draft, offCycle: true }
}

/** Phases behind the end, of a change that was to come when it was cancelled, never began. */
function planIdAtEnd({ planId, phases, terms }: ToRate): string {
  const endMs = terms.endMs ?? Number.POSITIVE_INFINITY
  return phases?.findLast(({ startMs }) => startMs < endMs)?.planId ?? planId
}

/** The periods that are corrected; without any the minute of the run. */
function periodOf(items: readonly PendingItem[], { knownBeforeMs }: BillingRun): { startMs: number; endMs: number } {
  const periods = items.flatMap(({ corrects }) => (corrects === null ? [] : [corrects.period]))
  const endMs = floorToMinute(knownBeforeMs)
  if (periods.length === 0) return { startMs: endMs - MINUTE_MS, endMs }
  return {
    startMs: Math.min(...periods.map((period) => period.startMs)),
    endMs: Math.max(...periods.map((period) => period.endMs)),
  }
}
