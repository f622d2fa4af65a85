import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { RateDeps } from '../run/bill-due.ts'
import type { PlanCache } from '../run/billable-plans.ts'
import type { BillingRun } from '../run/billing-run.ts'
import { anomaliesOf } from './anomalies.ts'
import { type Drafted, draftPlace } from './draft-place.ts'
import { hasDrafts, insertDrafts } from './drafts.postgres.ts'
import { lookForLate } from './late-items.ts'
import { awaitApproval, findPlace, lockRun, movePlace, type Place, releaseRun } from './places.postgres.ts'
import { findSettings } from './settings.postgres.ts'
import { countAnomalies, sumDrafts } from './totals.postgres.ts'

export type ReviewDeps = RateDeps & Means & { stopping: () => boolean }
/** `released`: the run may bill. */
export type Verdict = 'released' | 'awaiting_approval' | 'stopped'

/**
 * Drafts what a run would bill and settles whether it may, once for each run. Order of effects, each in a transaction of
 * its own, and what a crash before it leaves:
 *   drafts of a place, the place moved on   the places before it; two runners write each place once
 *   released, or awaiting approval, history   all drafts; it is settled by whoever continues, by the settings of then
 * Nothing but the run's own row, its drafts and its history is written. A run of a tenant whose runs need no approval is
 * released at once, without drafts, and so is one that has nothing to draft. Of a dry run all is drafted, and whoever asked
 * bills nothing.
 * @throws Problem illegal_state when the run is cancelled.
 */
export async function reviewRun(deps: ReviewDeps, tenantId: TenantId, run: BillingRun): Promise<Verdict> {
  if (run.releasedAtMs !== null) return 'released'
  const { transact } = deps
  if (!run.dryRun && (await transact(tenantId, (tx) => releasedWithoutReview(tx, run, deps.now())))) return 'released'
  const plans: PlanCache = new Map()
  const late = lookForLate(deps, plans, tenantId, run)
  let place = await transact(tenantId, (tx) => findPlace(tx, run.id))
  while (place.part !== 'done') {
    if (deps.stopping()) return 'stopped'
    const drafted = await draftPlace(deps, plans, late, tenantId, run, place)
    place = await writePlace(deps, tenantId, run, place, drafted)
  }
  return transact(tenantId, (tx) => settle(tx, deps, run))
}

/** Where the run stands then: behind its drafts, whoever wrote them. */
async function writePlace(
  deps: ReviewDeps,
  tenantId: TenantId,
  run: BillingRun,
  place: Place,
  { drafts, next }: Drafted,
): Promise<Place> {
  return deps.transact(tenantId, async (tx) => {
    if (!(await movePlace(tx, run.id, place, next))) return findPlace(tx, run.id)
    const { rules } = await findSettings(tx)
    const judged = drafts.map((draft) => ({ ...draft, id: deps.newId(), anomalies: anomaliesOf(draft, rules) }))
    await insertDrafts(tx, run.id, judged)
    return next
  })
}

async function releasedWithoutReview(tx: TenantTransaction, run: BillingRun, atMs: number): Promise<boolean> {
  const locked = await lockRun(tx, run.id)
  if (locked.state === 'cancelled') throw cancelled()
  if (locked.releasedAtMs !== null) return true
  if (locked.state === 'awaiting_approval' || (await findSettings(tx)).approval !== 'never') return false
  await releaseRun(tx, run.id, null, atMs)
  return true
}

async function settle(tx: TenantTransaction, means: Means, run: BillingRun): Promise<Verdict> {
  const { state, releasedAtMs } = await lockRun(tx, run.id)
  if (state === 'cancelled') throw cancelled()
  if (state === 'awaiting_approval') return 'awaiting_approval'
  if (run.dryRun || releasedAtMs !== null) return 'released'
  const { approval } = await findSettings(tx)
  const anomalies = await countAnomalies(tx, run.id)
  // Whoever approves sees drafts alone: without any there is nothing to look at, and waiting would hold up the schedule.
  const needsNone = !(await hasDrafts(tx, run.id)) || (approval === 'on_anomaly' && anomalies.size === 0)
  if (approval === 'never' || needsNone) {
    await releaseRun(tx, run.id, null, means.now())
    return 'released'
  }
  await awaitApproval(tx, run.id)
  const invoices = (await sumDrafts(tx, run.id)).reduce((sum, totals) => sum + totals.invoices, 0)
  const data = { approval, invoices, anomalies: Object.fromEntries(anomalies) }
  const event = { id: means.newId(), event: 'billing_run.awaiting_approval' as const, billingRunId: run.id, data }
  await insertBillingEvents(tx, [event], means.now())
  return 'awaiting_approval'
}

function cancelled(): Problem {
  return new Problem('illegal_state', 'The billing run was cancelled: it bills nothing any more.')
}
