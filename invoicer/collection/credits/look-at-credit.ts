import type { TenantId } from '../../../schemas/http/door.ts'
import { inHalves } from '../../billing/budgets/in-halves.ts'
import type { LookHooks, Watch } from '../../billing/budgets/keep-watching.ts'
import { withDraws } from '../../billing/commitments/load-draws.ts'
import { loadDiscounts } from '../../billing/discounts/discounts.postgres.ts'
import type { DiscountsOf } from '../../billing/discounts/in-force.ts'
import { payerIdOf, type ToRate } from '../../billing/due.ts'
import { draftPreviews, type ToPreview } from '../../billing/preview/draft-previews.ts'
import { loadPlans } from '../../billing/run/billable-plans.ts'
import type { InvoiceToPay } from '../../billing/run/issue-chunk.ts'
import type { PlanOf } from '../../billing/run/rate-chunk.ts'
import { planIdsOf } from '../../billing/shares.ts'
import { type TaxOf, taxWhereKnown } from '../../billing/tax/tax-port.ts'
import { loadTaxes } from '../../billing/tax/taxes.postgres.ts'
import type { UsageReader } from '../../billing/usage.ts'
import type { Means, Transact } from '../../transaction.ts'
import type { Gateway } from '../payments/gateway.ts'
import { type Available, openPurchases } from '../top-ups/open-purchases.ts'
import { listThresholds, type TopUpThreshold } from '../top-ups/rules.postgres.ts'
import { allocateCredit } from './allocate-credit.ts'
import type { OpenCredit } from './credit.ts'
import { listOpenCredit } from './credits.postgres.ts'
import { fireCreditAlerts, type ReachedCredit } from './fire-credit-alerts.ts'
import { renewSome } from './renew-some.ts'
import { type CreditFill, listFills, listUnbilled, sumWaitingParts } from './standing.postgres.ts'
import { type ClaimedThresholds, claimThresholds, restThresholds } from './thresholds.postgres.ts'
import { creditLevelsReached, levelTexts, usedMinor } from './thresholds.ts'
import { unbilledPeriods } from './unbilled-periods.ts'

type LookDeps = Means & { transact: Transact; usage: UsageReader; gateway: { name: Gateway['name'] } }
/** Null: it never had any credit. */
type Standing = Omit<CreditFill, 'grantId'> & { grantId: string | null }
type Watched = ClaimedThresholds &
  Standing & {
    subscriptions: ToRate[]
    credits: OpenCredit[]
    topUpBelowMinor: bigint | null
    /** Rated by a run that has yet to gather it into an invoice. */
    waitingMinor: bigint
  }

/** Each customer is looked at about so often; whoever does has so long for it before another process looks too. */
const LOOK_EVERY_MS = 60_000
/** Their usage is read together. */
const MOST_AT_ONCE = 200

/** Prepaid credit, to be watched. */
export function watchCredit(deps: LookDeps): Watch {
  return {
    look: (tenantId, dueMs, hooks) => lookAtCredit(deps, tenantId, dueMs, hooks),
    trouble: {
      event: 'credit_watch_failed',
      message: 'spend could not be compared with prepaid credit; it is tried again in a minute',
      idName: 'customer_id',
    },
  }
}

/**
 * Compares the credit that customers of a tenant have left with their thresholds, which were due by then; answers how
 * many these were, of 200 at most. Order of effects, and what a crash between them leaves:
 *   credit given that is due, and rolled over    each customer at once; the next look finds the others
 *   thresholds taken (next look in a minute, none where everything is told)   not looked at: whoever comes then looks
 *   usage read, rated, levels compared                                        no effect
 *   alerts, deliveries and history                                            one transaction: all or none, and then the
 *                                                                             next look finds them again
 *   credit bought where there is too little      a transaction of its own; the next look finds that too
 */
async function lookAtCredit(deps: LookDeps, tenantId: TenantId, dueMs: number, hooks: LookHooks): Promise<number> {
  const nowMs = deps.now()
  // Between what expired and what takes its place there would be levels that nobody has reached.
  while (!hooks.stopping() && (await renewSome(deps, tenantId, nowMs, hooks.failed)) > 0);
  const { taken, watched } = await take(deps.transact, tenantId, dueMs, nowMs)
  if (watched.length === 0) return taken
  const planIds = watched.flatMap(({ subscriptions }) => subscriptions.flatMap(planIdsOf))
  const planOf = await loadPlans(deps.transact, tenantId, new Map(), planIds)
  const customerIds = watched.map(({ customerId }) => customerId)
  const subscriptions = watched.flatMap((one) => one.subscriptions)
  const terms = await deps.transact(tenantId, async (tx) => ({
    taxOf: await loadTaxes(tx, customerIds),
    discountsOf: await loadDiscounts(tx, subscriptions, null),
  }))
  const drawing = await withDraws(deps.transact, tenantId, subscriptions, planOf)
  const drawingOf = new Map(drawing.map((one) => [one.id, one]))
  const all = watched.map((one): Watched => {
    return { ...one, subscriptions: one.subscriptions.map((own) => drawingOf.get(own.id) ?? own) }
  })
  const failures = new Map<string, unknown>()
  const failed = ({ customerId }: Watched, error: unknown) => void failures.set(customerId, error)
  const look = async (part: readonly Watched[]) => {
    const seen = await spentOf(deps.usage, tenantId, nowMs, part, planOf, terms)
    const reached = part.flatMap((one) => newlyReached(one, seen.spentMinor.get(one) ?? 0n))
    if (reached.length > 0) hooks.fired(await fireCreditAlerts(deps, tenantId, reached))
    const low = part.flatMap((one) => tooLittle(one, seen.spentMinor.get(one) ?? 0n))
    if (low.length > 0) await buy(deps, tenantId, low, nowMs)
    for (const [one, error] of seen.failures) failed(one, error)
  }
  await inHalves(all, look, { stopping: hooks.stopping, failed })
  for (const [customerId, error] of failures) hooks.failed(customerId, error)
  return taken
}

/**
 * Those with something left to tell, or for whom credit is bought in time, are watched. The others rest: their rows are
 * locked, so a grant or a change is seen here or comes after this and has them looked at again.
 *
 * Balances are read before what waits to be gathered, and that before what is not invoiced yet: what a run draws or rates
 * between them counts a minute late, never twice.
 */
async function take(
  transact: Transact,
  tenantId: TenantId,
  dueMs: number,
  nowMs: number,
): Promise<{ taken: number; watched: Watched[] }> {
  return transact(tenantId, async (tx) => {
    const claimed = await claimThresholds(tx, dueMs, nowMs + LOOK_EVERY_MS, MOST_AT_ONCE)
    if (claimed.length === 0) return { taken: 0, watched: [] }
    const fills = await listFills(
      tx,
      claimed.map(({ customerId }) => customerId),
      nowMs,
    )
    const topUpOf = await listThresholds(
      tx,
      claimed.map(({ customerId }) => customerId),
    )
    const fillOf = new Map(fills.map((fill) => [fill.customerId, fill]))
    const open = claimed.flatMap((thresholds) => {
      const topUp = topUpOf.get(thresholds.customerId)
      const standing = fillOf.get(thresholds.customerId) ?? (topUp && withoutCredit(thresholds.customerId, topUp))
      const isUntold = standing && levelTexts(thresholds).some((level) => !standing.told.includes(level))
      if (standing === undefined || !(isUntold || topUp !== undefined)) return []
      return [{ ...thresholds, ...standing, topUpBelowMinor: topUp?.thresholdMinor ?? null }]
    })
    const openIds = new Set(open.map(({ customerId }) => customerId))
    const resting = claimed.map(({ customerId }) => customerId).filter((customerId) => !openIds.has(customerId))
    if (resting.length > 0) await restThresholds(tx, resting)
    const waitingOf = await sumWaitingParts(tx, [...openIds])
    const subscriptionsOf = new Map<string, ToRate[]>([...openIds].map((customerId) => [customerId, []]))
    for (const one of await listUnbilled(tx, [...openIds], nowMs)) subscriptionsOf.get(payerIdOf(one))?.push(one)
    const creditsOf = new Map<string, OpenCredit[]>([...openIds].map((customerId) => [customerId, []]))
    for (const one of await listOpenCredit(tx, [...openIds], nowMs)) creditsOf.get(one.customerId)?.push(one)
    const watched = open.map((one) => {
      const { customerId } = one
      const subscriptions = subscriptionsOf.get(customerId) ?? []
      const credits = creditsOf.get(customerId) ?? []
      return { ...one, subscriptions, credits, waitingMinor: waitingOf.get(customerId) ?? 0n }
    })
    return { taken: claimed.length, watched }
  })
}

/** Credit is bought for it, and it never had any: what it spends is below 0 at once. */
function withoutCredit(customerId: string, { currency }: TopUpThreshold): Standing {
  return { customerId, grantId: null, currency, baseMinor: 0n, balanceMinor: 0n, grants: 0, told: [] }
}

type Item = ToPreview & { of: Watched }

/**
 * What customers have spent that has no invoice yet. What of it cannot be rated is left out: nothing that is spent is
 * below 0, so levels that the rest reaches are reached.
 */
async function spentOf(
  usage: UsageReader,
  tenantId: TenantId,
  nowMs: number,
  part: readonly Watched[],
  planOf: PlanOf,
  { taxOf, discountsOf }: { taxOf: TaxOf; discountsOf: DiscountsOf },
): Promise<{ spentMinor: Map<Watched, bigint>; failures: [Watched, unknown][] }> {
  const failures: [Watched, unknown][] = []
  const items = part.flatMap((of) =>
    of.subscriptions.flatMap((subscription) =>
      unbilledPeriods(subscription, nowMs).map((period): Item => ({ of, subscription, period, dueByMs: nowMs })),
    ),
  )
  const drafts = await draftPreviews(usage, tenantId, nowMs, items, planOf, taxOf, taxWhereKnown, discountsOf)
  const toPay = new Map<Watched, InvoiceToPay[]>()
  for (const [place, { of, subscription }] of items.entries()) {
    const draft = drafts[place]
    if (draft === undefined || draft instanceof Error) failures.push([of, draft])
    else {
      const { customerId, currency } = of
      const { totalMinor, lines } = draft
      const invoice = { id: String(place), customerId, subscriptionId: subscription.id, currency, totalMinor, lines }
      toPay.set(of, [...(toPay.get(of) ?? []), invoice])
    }
  }
  return { spentMinor: new Map(part.map((of) => [of, spentMinorOf(of, toPay.get(of) ?? [])])), failures }
}

/**
 * Where credit pays some lines only, no more is spent of it than it would pay of these; what waits to be gathered counts
 * there when it is.
 */
function spentMinorOf({ credits, waitingMinor }: Watched, invoices: readonly InvoiceToPay[]): bigint {
  const amounts = credits.some(({ scope }) => scope !== null)
    ? allocateCredit(invoices, credits).map(({ amountMinor }) => amountMinor)
    : [waitingMinor, ...invoices.map(({ totalMinor }) => totalMinor)].map((minor) => (minor > 0n ? minor : 0n))
  return amounts.reduce((sum, amountMinor) => sum + amountMinor, 0n)
}

async function buy({ transact, ...deps }: LookDeps, tenantId: TenantId, low: readonly Available[], nowMs: number) {
  await transact(tenantId, (tx) => openPurchases(tx, deps, deps.gateway.name, low, nowMs))
}

/** Of those for whom credit is bought by itself. */
function tooLittle({ customerId, balanceMinor, grants, topUpBelowMinor }: Watched, spentMinor: bigint): Available[] {
  const availableMinor = balanceMinor - spentMinor
  if (topUpBelowMinor === null || availableMinor >= topUpBelowMinor) return []
  return [{ customerId, availableMinor, grants }]
}

function newlyReached(one: Watched, spentMinor: bigint): ReachedCredit[] {
  const { customerId, customerKey, grantId, baseMinor, balanceMinor, currency, told } = one
  if (grantId === null) return []
  const standing = { baseMinor, availableMinor: balanceMinor - spentMinor, currency }
  return creditLevelsReached(standing, one)
    .filter((level) => !told.includes(level))
    .map((level) => ({ ...standing, customerId, customerKey, grantId, level, usedMinor: usedMinor(standing) }))
}
