import type { TenantId } from '../../../schemas/http/door.ts'
import type { Period } from '../../../schemas/time/period.ts'
import type { Means, Transact } from '../../transaction.ts'
import { withDraws } from '../commitments/load-draws.ts'
import { loadDiscounts } from '../discounts/discounts.postgres.ts'
import type { DiscountsOf } from '../discounts/in-force.ts'
import { payerIdOf, type ToRate } from '../due.ts'
import { draftPreviews } from '../preview/draft-previews.ts'
import { drawnBefore } from '../preview/drawn-before.ts'
import { listToRate } from '../preview/to-rate.postgres.ts'
import { loadPlans } from '../run/billable-plans.ts'
import type { PlanOf } from '../run/rate-chunk.ts'
import { planIdsOf } from '../shares.ts'
import { type TaxOf, taxWhereKnown } from '../tax/tax-port.ts'
import { loadTaxes } from '../tax/taxes.postgres.ts'
import type { UsageReader } from '../usage.ts'
import { type ClaimedBudget, claimBudgets } from './budgets.postgres.ts'
import { fireSpendAlerts, type Reached } from './fire-spend-alerts.ts'
import { inHalves } from './in-halves.ts'
import type { LookHooks, Watch } from './keep-watching.ts'
import { levelsReached } from './levels.ts'
import { watchedPeriods } from './watched-periods.ts'

export type LookDeps = Means & { transact: Transact; usage: UsageReader }

type Watched = { budget: ClaimedBudget; subscription: ToRate }
type Failure = { subscriptionId: string; error: unknown }

/** Each budget is looked at about so often; whoever does has so long for it before another process looks too. */
export const LOOK_EVERY_MS = 60_000
/** Their usage is read together. */
const MOST_AT_ONCE = 200

/** Budgets, to be watched. */
export function watchBudgets(deps: LookDeps): Watch {
  return {
    look: (tenantId, dueMs, hooks) => lookAtSpend(deps, tenantId, dueMs, hooks),
    trouble: {
      event: 'spend_watch_failed',
      message: 'spend could not be compared with budgets; it is tried again in a minute',
      idName: 'subscription_id',
    },
  }
}

/**
 * Compares budgets of a tenant that were due by then with the spend of their periods; answers how many these were, of
 * 200 at most. Order of effects, and what a crash between them leaves:
 *   budgets taken (next look in a minute)   not looked at: whoever comes then looks
 *   usage read, rated, levels compared      no effect
 *   alerts, deliveries and history          one transaction: all or none, and then the next look finds them again
 */
async function lookAtSpend(deps: LookDeps, tenantId: TenantId, dueMs: number, hooks: LookHooks): Promise<number> {
  const nowMs = deps.now()
  const watched = await deps.transact(tenantId, async (tx): Promise<Watched[]> => {
    const budgets = await claimBudgets(tx, dueMs, nowMs + LOOK_EVERY_MS, MOST_AT_ONCE)
    const found = await listToRate(
      tx,
      budgets.map(({ subscriptionId }) => subscriptionId),
    )
    const byId = new Map(found.map((subscription) => [subscription.id, subscription]))
    return budgets.flatMap((budget) => {
      const subscription = byId.get(budget.subscriptionId)
      return subscription ? [{ budget, subscription }] : []
    })
  })
  if (watched.length === 0) return 0
  const planIds = watched.flatMap(({ subscription }) => planIdsOf(subscription))
  const planOf = await loadPlans(deps.transact, tenantId, new Map(), planIds)
  const payerIds = watched.map(({ subscription }) => payerIdOf(subscription))
  const subscriptions = watched.map(({ subscription }) => subscription)
  const drawing = await withDraws(deps.transact, tenantId, subscriptions, planOf)
  const all = watched.map((one, place) => ({ ...one, subscription: drawing[place] ?? one.subscription }))
  const terms = await deps.transact(tenantId, async (tx) => ({
    taxOf: await loadTaxes(tx, payerIds),
    discountsOf: await loadDiscounts(tx, subscriptions, null),
  }))
  const failures = new Map<string, unknown>()
  const look = async (part: readonly Watched[]) => {
    const seen = await compare(deps.usage, tenantId, nowMs, part, planOf, terms)
    if (seen.reached.length > 0) hooks.fired(await fireSpendAlerts(deps, tenantId, seen.reached))
    for (const { subscriptionId, error } of seen.failures) failures.set(subscriptionId, error)
  }
  const failed = ({ subscription }: Watched, error: unknown) => failures.set(subscription.id, error)
  await inHalves(all, look, { stopping: hooks.stopping, failed })
  for (const [subscriptionId, error] of failures) hooks.failed(subscriptionId, error)
  return watched.length
}

/** `isBefore`: it is rated for what it drew of a commitment alone. */
type Item = Watched & { period: Period; asSpend: true; isBefore?: true }

/** Everything that is reached, told before or not, and what cannot be rated. */
async function compare(
  usage: UsageReader,
  tenantId: TenantId,
  nowMs: number,
  part: readonly Watched[],
  planOf: PlanOf,
  { taxOf, discountsOf }: { taxOf: TaxOf; discountsOf: DiscountsOf },
): Promise<{ reached: Reached[]; failures: Failure[] }> {
  const failures: Failure[] = []
  const items = part.flatMap((one) => {
    // Fees in advance are spend of their own period, whenever they are billed.
    const watched = watchedPeriods(one.subscription, nowMs).map((period): Item => ({ ...one, period, asSpend: true }))
    const [first] = watched
    return first === undefined ? [] : [...before(one, first.period, planOf), ...watched]
  })
  const drafts = await draftPreviews(usage, tenantId, nowMs, items, planOf, taxOf, taxWhereKnown, discountsOf)
  const reached = items.flatMap(({ budget, subscription, period, isBefore }, place): Reached[] => {
    const draft = drafts[place]
    if (isBefore) return []
    if (draft === undefined || draft instanceof Error) {
      failures.push({ subscriptionId: subscription.id, error: draft })
      return []
    }
    const spentMinor = draft.totalMinor
    return levelsReached(spentMinor, budget).map((level) => ({ budget, subscription, period, level, spentMinor }))
  })
  return { reached, failures }
}

/** What cannot be rated is told with the period itself. */
function before(one: Watched, period: Period, planOf: PlanOf): Item[] {
  try {
    return drawnBefore(one.subscription, period, planOf).map((earlier) => {
      return { ...one, period: earlier, asSpend: true, isBefore: true }
    })
  } catch {
    return []
  }
}
