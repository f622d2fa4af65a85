import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Negotiating } from '../contracts/private-plan.ts'
import { addOnsTold, refuseAddOns } from './add-ons.ts'
import { type Cancellation, cancelSubscription } from './cancel-subscription.ts'
import { type AddOnsChange, phasesWithAddOns } from './change-add-ons.ts'
import { type ChangedPhases, type IsDowngrade, type PlanChange, phasesOnPlan } from './change-plan.ts'
import { phasesWithQuantities, type QuantityChange } from './change-quantities.ts'
import { findAnswer, insertAnswer } from './changes.postgres.ts'
import { refuseOfDraft } from './drafts.ts'
import { stateAt } from './lifecycle.ts'
import { type Pause, phasesPaused, phasesResumed, type Resume } from './pause-subscription.ts'
import { phaseAt, samePhases } from './phases.ts'
import { quantitiesOf } from './quantities.ts'
import { refuseOverlap } from './refuse-overlap.ts'
import { nextPeriodWith } from './running-period.ts'
import type { Subscription } from './subscription.ts'
import { type Changeable, lockSubscription, lockSubscriptionsOf, storeChange } from './subscriptions.postgres.ts'

/** What shall be. */
export type Change = Cancellation | PlanChange | QuantityChange | AddOnsChange | Pause | Resume
export type ChangeDeps = Negotiating & { isDowngrade: IsDowngrade }
/** Every change stores all phases anew, and every look reads them. */
export const MOST_PHASES = 500
/** A subscription, and when that was so. */
export type Changed = { subscription: Subscription; atMs: number }

/**
 * Changes a subscription, once for each idempotency key of it: the same key again is answered as the first time, whatever
 * was changed since. A change to what already is changes and tells nothing. A run that is rating the subscription
 * meanwhile finds that it was changed, and rates it again.
 * @throws Problem not_found; illegal_state for what its state does not allow; conflict for another change with the key,
 * or for a meter that another subscription of the customer prices at the same time.
 */
export async function changeSubscription(
  tx: TenantTransaction,
  idOrKey: string,
  change: Change,
  key: string | null,
  deps: ChangeDeps,
): Promise<Changed> {
  const found = await lockSubscription(tx, idOrKey)
  if (found === undefined) await refuseOfDraft(tx, idOrKey)
  if (found === undefined) throw new Problem('not_found', 'There is no subscription with this id or external key.')
  const { id } = found.subscription
  const known = key === null ? undefined : await findAnswer(tx, id, key)
  if (known !== undefined) {
    if (isDeepStrictEqual(known.change, change)) return { subscription: known.answer, atMs: known.atMs }
    throw new Problem('conflict', 'This idempotency key was used for another change of the subscription.')
  }
  const atMs = deps.now()
  const means = { ...deps, now: () => atMs }
  const subscription =
    'cancel' in change
      ? await cancelSubscription(tx, id, change.cancel, means, change.fees)
      : await changePhases(tx, found, change, means)
  if (key !== null) await insertAnswer(tx, id, key, { change, answer: subscription, atMs })
  return { subscription, atMs }
}

export type PhaseChange = Exclude<Change, Cancellation>

/** The phases that a change leads to. Nothing is stored but prices that were agreed on with it. @throws Problem as `changeSubscription`. */
export async function phasesAfter(
  tx: TenantTransaction,
  found: Changeable,
  change: PhaseChange,
  deps: ChangeDeps,
  nowMs: number,
): Promise<ChangedPhases> {
  const changed = await phasesChanged(tx, found, change, deps, nowMs)
  const { phases, atMs } = changed
  // What lies before the change is as it was.
  await refuseAddOns(
    tx,
    phases.filter((_, index) => (phases[index + 1]?.startMs ?? Number.POSITIVE_INFINITY) > atMs),
  )
  return changed
}

async function phasesChanged(
  tx: TenantTransaction,
  found: Changeable,
  change: PhaseChange,
  deps: ChangeDeps,
  nowMs: number,
): Promise<ChangedPhases> {
  if ('plan' in change) return phasesOnPlan(tx, found, change, deps.isDowngrade, nowMs, deps)
  if ('addOns' in change) return phasesWithAddOns(tx, found, change, nowMs)
  if ('quantities' in change) return phasesWithQuantities(found, change, nowMs)
  return 'pause' in change ? phasesPaused(found, change, nowMs) : phasesResumed(found, change, nowMs)
}

async function changePhases(
  tx: TenantTransaction,
  found: Changeable,
  change: PhaseChange,
  deps: ChangeDeps,
): Promise<Subscription> {
  const { subscription, contract } = found
  const nowMs = deps.now()
  const { phases, atMs } = await phasesAfter(tx, found, change, deps, nowMs)
  if (samePhases(subscription.phases, phases)) return subscription
  if (phases.length > MOST_PHASES) {
    throw new Problem(
      'illegal_state',
      `The subscription was changed so often that it would have more than ${MOST_PHASES} phases. Cancel it, and create one ` +
        'that starts where this one ends.',
    )
  }
  const changed = { ...subscription, phases, nextPeriod: nextPeriodWith(subscription, contract, phases) }
  await lockSubscriptionsOf(tx, subscription.customerId)
  await storeChange(tx, changed, found.feesBilled)
  // As it is stored now.
  await refuseOverlap(tx, changed)
  const phase = phaseAt(phases, atMs)
  const { planKey: plan, planId, kind, bills } = phase
  const at = new Date(atMs).toISOString()
  const told = {
    change: nameOf(change),
    state: stateAt(changed, nowMs),
    at,
    plan,
    plan_id: planId,
    kind,
    billed: bills,
    ...(phase.quantities === undefined ? {} : { quantities: quantitiesOf(phase) }),
    ...(phase.addOns === undefined ? {} : { add_ons: addOnsTold(phase.addOns) }),
  }
  const { id: subscriptionId, customerId } = subscription
  const event = { id: deps.newId(), event: 'subscription.updated' as const, customerId, subscriptionId, data: told }
  await insertBillingEvents(tx, [event], nowMs)
  return changed
}

function nameOf(change: PhaseChange): string {
  if ('addOns' in change) return 'add_ons_changed'
  if ('quantities' in change && !('plan' in change)) return 'quantities_changed'
  if ('plan' in change) return change.plan === null ? 'plan_kept' : 'plan_changed'
  if ('resume' in change) return 'resumed'
  return change.pause === null ? 'pause_taken_back' : 'paused'
}
