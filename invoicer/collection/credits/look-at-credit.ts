import type { TenantId } from '../../../schemas/http/door.ts'
import { inHalves } from '../../billing/budgets/in-halves.ts'
import type { LookHooks, Watch } from '../../billing/budgets/keep-watching.ts'
import type { ToRate } from '../../billing/due.ts'
import { draftPreviews, type ToPreview } from '../../billing/preview/draft-previews.ts'
import { loadPlans } from '../../billing/run/billable-plans.ts'
import type { PlanOf } from '../../billing/run/rate-chunk.ts'
import { planIdsOf } from '../../billing/shares.ts'
import { type TaxOf, taxWhereKnown } from '../../billing/tax/tax-port.ts'
import { loadTaxes } from '../../billing/tax/taxes.postgres.ts'
import type { UsageReader } from '../../billing/usage.ts'
import type { Means, Transact } from '../../transaction.ts'
import { fireCreditAlerts, type ReachedCredit } from './fire-credit-alerts.ts'
import { type CreditFill, listFills, listUnbilled } from './standing.postgres.ts'
import { type ClaimedThresholds, claimThresholds, restThresholds } from './thresholds.postgres.ts'
import { creditLevelsReached, levelTexts, usedMinor } from './thresholds.ts'
import { unbilledPeriods } from './unbilled-periods.ts'

type LookDeps = Means & { transact: Transact; usage: UsageReader }
type Watched = ClaimedThresholds & CreditFill & { subscriptions: ToRate[] }

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
 *   thresholds taken (next look in a minute, none where everything is told)   not looked at: whoever comes then looks
 *   usage read, rated, levels compared                                        no effect
 *   alerts, deliveries and history                                            one transaction: all or none, and then the
 *                                                                             next look finds them again
 */
async function lookAtCredit(deps: LookDeps, tenantId: TenantId, dueMs: number, hooks: LookHooks): Promise<number> {
  const nowMs = deps.now()
  const { taken, watched } = await take(deps.transact, tenantId, dueMs, nowMs)
  if (watched.length === 0) return taken
  const planIds = watched.flatMap(({ subscriptions }) => subscriptions.flatMap(planIdsOf))
  const planOf = await loadPlans(deps.transact, tenantId, new Map(), planIds)
  const customerIds = watched.map(({ customerId }) => customerId)
  const taxOf = await deps.transact(tenantId, (tx) => loadTaxes(tx, customerIds))
  const failures = new Map<string, unknown>()
  const failed = ({ customerId }: Watched, error: unknown) => void failures.set(customerId, error)
  const look = async (part: readonly Watched[]) => {
    const seen = await spentOf(deps.usage, tenantId, nowMs, part, planOf, taxOf)
    const reached = part.flatMap((one) => newlyReached(one, seen.spentMinor.get(one) ?? 0n))
    if (reached.length > 0) hooks.fired(await fireCreditAlerts(deps, tenantId, reached))
    for (const [one, error] of seen.failures) failed(one, error)
  }
  await inHalves(watched, look, { stopping: hooks.stopping, failed })
  for (const [customerId, error] of failures) hooks.failed(customerId, error)
  return taken
}

/**
 * Those with something left to tell are watched. The others rest: their rows are locked, so a grant or a change is seen
 * here or comes after this and has them looked at again.
 *
 * Balances are read before what is not invoiced yet: what a run draws between the two counts a minute late, never twice.
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
    const fillOf = new Map(fills.map((fill) => [fill.customerId, fill]))
    const open = claimed.flatMap((thresholds) => {
      const fill = fillOf.get(thresholds.customerId)
      return fill && levelTexts(thresholds).some((level) => !fill.told.includes(level))
        ? [{ ...thresholds, ...fill }]
        : []
    })
    const openIds = new Set(open.map(({ customerId }) => customerId))
    const resting = claimed.flatMap(({ customerId }) => (openIds.has(customerId) ? [] : [customerId]))
    if (resting.length > 0) await restThresholds(tx, resting)
    const subscriptionsOf = new Map<string, ToRate[]>([...openIds].map((customerId) => [customerId, []]))
    for (const one of await listUnbilled(tx, [...openIds], nowMs)) subscriptionsOf.get(one.customerId)?.push(one)
    const watched = open.map((one) => ({ ...one, subscriptions: subscriptionsOf.get(one.customerId) ?? [] }))
    return { taken: claimed.length, watched }
  })
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
  taxOf: TaxOf,
): Promise<{ spentMinor: Map<Watched, bigint>; failures: [Watched, unknown][] }> {
  const failures: [Watched, unknown][] = []
  const items = part.flatMap((of) =>
    of.subscriptions.flatMap((subscription) =>
      unbilledPeriods(subscription, nowMs).map((period): Item => ({ of, subscription, period })),
    ),
  )
  const drafts = await draftPreviews(usage, tenantId, nowMs, items, planOf, taxOf, taxWhereKnown)
  const spentMinor = new Map<Watched, bigint>()
  for (const [place, { of }] of items.entries()) {
    const draft = drafts[place]
    if (draft === undefined || draft instanceof Error) failures.push([of, draft])
    else spentMinor.set(of, (spentMinor.get(of) ?? 0n) + (draft.totalMinor > 0n ? draft.totalMinor : 0n))
  }
  return { spentMinor, failures }
}

function newlyReached(one: Watched, spentMinor: bigint): ReachedCredit[] {
  const { customerId, customerKey, grantId, baseMinor, balanceMinor, currency, told } = one
  const standing = { baseMinor, availableMinor: balanceMinor - spentMinor, currency }
  return creditLevelsReached(standing, one)
    .filter((level) => !told.includes(level))
    .map((level) => ({ ...standing, customerId, customerKey, grantId, level, usedMinor: usedMinor(standing) }))
}
