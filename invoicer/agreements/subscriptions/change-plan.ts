import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { billsFeesAhead, type Plan } from '../plans/plan.ts'
import { effectivePlan, findPlans } from '../plans/plans.postgres.ts'
import { stateAfter, stateAt } from './lifecycle.ts'
import { isSameRecurrence } from './periods.ts'
import { changedFrom, type Phase, phaseAt } from './phases.ts'
import { changeableFrom, periodEnd } from './running-period.ts'
import type { NamedPhase, Subscription } from './subscription.ts'
import type { Changeable } from './subscriptions.postgres.ts'

const MINUTE_MS = 60_000
const UNREADABLE = 'The plan of a subscription could not be read.'

/** Which plan by its key, null: the one it is on, so that a change to come is taken back; and when, null: by its fee. */
export type PlanChange = { plan: string | null; when: 'now' | 'period_end' | null }
/** Whether the recurring fee of a plan is lower. Rating knows; it lies above agreements, so it is handed in. */
export type IsDowngrade = (from: Plan, to: Plan) => boolean
/** Phases as they shall be, and from when on they are others. */
export type ChangedPhases = { phases: Subscription['phases']; atMs: number }

/**
 * The phases after a change of plan. An upgrade takes effect at once, a downgrade at the period's end, unless told; where
 * nothing is billed yet, in a trial or before the start, either at once. It takes the version of the plan that is in effect
 * then, by what is known now, replaces a change that was to come, and leaves trials and pauses as they are. What is used
 * until then is billed by the plan before. The change that is to come already stays as it is.
 * @throws Problem invalid_request for a plan that is not there; illegal_state for what its state or its periods refuse.
 */
export async function phasesOnPlan(
  tx: TenantTransaction,
  found: Changeable,
  { plan: key, when }: PlanChange,
  isDowngrade: IsDowngrade,
  nowMs: number,
): Promise<ChangedPhases> {
  const { subscription, contract } = found
  const { phases, endMs } = subscription
  stateAfter(stateAt(subscription, nowMs), key === null ? 'keep_plan' : 'change_plan')
  const fromMs = changeableFrom(subscription, nowMs)
  const { startMs: _, bills: __, kind, ...on } = phaseAt(phases, fromMs)
  const { planId } = on
  const kept = changedFrom(phases, fromMs, (phase) => ({ ...phase, ...on }))
  if (key === null) return { phases: kept, atMs: fromMs }
  const pending = phases.find((phase) => phase.startMs > fromMs && phase.planId !== planId && phase.planKey === key)
  const plans = await findPlans(tx, [planId, ...(pending ? [pending.planId] : [])])
  const from = plans.find(({ id }) => id === planId)
  if (from === undefined) throw new Problem('internal', UNREADABLE)
  const now = fitting(from, await effectivePlan(tx, key, fromMs))
  const isFree = kind === 'trial' || nowMs < subscription.startMs
  // The same change again is the same, though a version with another fee came between.
  const compared = plans.find(({ id }) => id === pending?.planId) ?? now
  const isLater = (when ?? (!isFree && isDowngrade(from, compared) ? 'period_end' : 'now')) === 'period_end'
  const atMs = isLater ? periodEnd(subscription, contract, fromMs) : behindBilledFees(found, from, now, fromMs)
  if (pending?.startMs === atMs) return { phases, atMs }
  const to = isLater ? fitting(from, await effectivePlan(tx, key, atMs)) : now
  if (endMs !== null && endMs <= atMs) {
    throw new Problem('illegal_state', 'The subscription ends before the change would take effect.')
  }
  const before = kept.findLast(({ startMs }) => startMs < atMs)
  if (before !== undefined) checkBasis(from.id === before.planId ? from : await planBefore(tx, before.planId), to)
  const onto = planOfPhase(to)
  return { phases: changedFrom(kept, atMs, (phase) => ({ ...phase, ...onto })), atMs }
}

/**
 * Where new periods begin with the change, and fees of the one that begins just then are billed, that one lasts a minute: its
 * invoice gives them back, and not that of a period which may be a year long.
 */
function behindBilledFees({ subscription, feesBilled }: Changeable, from: Plan, to: Plan, fromMs: number): number {
  const isBilled = feesBilled && fromMs === subscription.nextPeriod?.startMs
  return isBilled && !isSameRecurrence(from, to) ? fromMs + MINUTE_MS : fromMs
}

/** What a phase says of its plan. */
export function planOfPhase(plan: Plan): Omit<NamedPhase, keyof Phase> & { planId: string } {
  const { id: planId, key: planKey, version: planVersion, interval, every, alignment } = plan
  return { planId, planKey, planVersion, periods: { interval, every, alignment }, feesAhead: billsFeesAhead(plan) }
}

/** A plan in whose currency the customer pays. */
function fitting(from: Plan, to: Plan | undefined): Plan {
  if (to === undefined) {
    const errors = [{ path: 'plan', message: 'There is no such plan.' }]
    throw new Problem('invalid_request', 'The change is not valid.', { errors })
  }
  if (to.currency !== from.currency) {
    const errors = [{ path: 'plan', message: `The plan is in ${to.currency}, the customer pays in ${from.currency}.` }]
    throw new Problem('invalid_request', 'The change is not valid.', { errors })
  }
  return to
}

async function planBefore(tx: TenantTransaction, planId: string): Promise<Plan> {
  const [plan] = await findPlans(tx, [planId])
  if (plan === undefined) throw new Problem('internal', UNREADABLE)
  return plan
}

/**
 * A plan cuts periods as the one before does where they are the same periods; with others, a new one begins. The one before
 * is that which is served until the change: another of the same minute is replaced by it.
 */
function checkBasis(from: Plan, to: Plan): void {
  if (to.prorationBasis === from.prorationBasis || !isSameRecurrence(to, from)) return
  throw new Problem(
    'illegal_state',
    `Plan ${JSON.stringify(to.key)} is prorated by the ${to.prorationBasis}, and that of the subscription by the ` +
      `${from.prorationBasis}: the parts of a period would not sum to it. Cancel the subscription, and create one on that ` +
      'plan which starts where this one ends.',
  )
}
