import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { canonicalOverrides, overridden } from '../contracts/overrides.ts'
import { isAgreed, type Negotiating, priceCheck, privatePlan, storedPlan } from '../contracts/private-plan.ts'
import type { Overrides } from '../contracts/terms.ts'
import { refuseArchived } from '../plans/listing.ts'
import { billsFeesAhead, type Plan } from '../plans/plan.ts'
import { effectivePlan, findPlans } from '../plans/plans.postgres.ts'
import { refuseQuantities, refuseStrange } from './change-quantities.ts'
import { stateAfter, stateAt } from './lifecycle.ts'
import { isSameRecurrence } from './periods.ts'
import { changedFrom, type Phase, phaseAt } from './phases.ts'
import { licencesOf, pricedFor, type Quantities, quantitiesOf, withQuantities } from './quantities.ts'
import { changeableFrom, periodEnd } from './running-period.ts'
import type { NamedPhase, Subscription } from './subscription.ts'
import type { Changeable } from './subscriptions.postgres.ts'

const MINUTE_MS = 60_000
const UNREADABLE = 'The plan of a subscription could not be read.'

/**
 * Which plan by its key, null: the one it is on, so that a change to come is taken back; and when, null: by its fee.
 * `overrides`: what of it is otherwise for the customer; left out: nothing. `quantities`: how much of its charges from then
 * on; those that are left out stay, where it has them.
 */
export type PlanChange = {
  plan: string | null
  when: 'now' | 'period_end' | null
  overrides?: Overrides
  quantities?: Quantities
}
/** Whether the recurring fee of a plan is lower. Rating knows; it lies above agreements, so it is handed in. */
export type IsDowngrade = (from: Plan, to: Plan) => boolean
/** Phases as they shall be, and from when on they are others. */
export type ChangedPhases = { phases: Subscription['phases']; atMs: number }

/**
 * The phases after a change of plan. An upgrade takes effect at once, a downgrade at the period's end, unless told; where
 * nothing is billed yet, in a trial or before the start, either at once. It takes the version of the plan that is in effect
 * then, by what is known now, with overrides of that one, replaces a change that was to come, and leaves trials and pauses
 * as they are. What is used until then is billed by the plan before. The change that is to come already stays as it is.
 * @throws Problem invalid_request for a plan that is not there; illegal_state for what its state or its periods refuse.
 */
export async function phasesOnPlan(
  tx: TenantTransaction,
  found: Changeable,
  { plan: key, when, overrides: wanted, quantities = {} }: PlanChange,
  isDowngrade: IsDowngrade,
  nowMs: number,
  negotiating: Pick<Negotiating, 'checkPrice' | 'newId'>,
): Promise<ChangedPhases> {
  const { subscription, contract } = found
  const deps = { ...negotiating, now: () => nowMs }
  const overrides = wanted && canonicalOverrides(wanted, priceCheck(deps), 'overrides')
  const { phases, endMs } = subscription
  stateAfter(stateAt(subscription, nowMs), key === null ? 'keep_plan' : 'change_plan')
  const fromMs = changeableFrom(subscription, nowMs)
  const current = phaseAt(phases, fromMs)
  const { planId, kind } = current
  const held = quantitiesOf(current)
  const kept = onPlanOf(current, phases, fromMs)
  if (key === null) {
    refuseQuantities(kept.filter(({ startMs }) => startMs >= fromMs))
    return { phases: kept, atMs: fromMs }
  }
  const named = phases.find((phase) => phase.startMs > fromMs && phase.planId !== planId && phase.planKey === key)
  const plans = await findPlans(tx, [planId, ...(named ? [named.planId] : [])])
  const from = plans.find(({ id }) => id === planId)
  if (from === undefined) throw new Problem('internal', UNREADABLE)
  const coming = plans.find(({ id }) => id === named?.planId)
  const pending = coming && (await isAgreed(tx, coming, overrides)) ? named : undefined
  const agreedOn = (base: Plan) => {
    return overrides === undefined ? base : privatePlan(base, overrides, subscription.customerId, deps)
  }
  const base = fitting(from, await effectivePlan(tx, key, fromMs))
  const isFree = kind === 'trial' || nowMs < subscription.startMs
  // The same change again is the same, though a version with another fee came between. Overrides may fit only a version
  // that is in effect later: then the fee of the catalogue is compared.
  const isFit = overrides !== undefined && overridden(base, overrides, '').errors.length === 0
  const compared = (pending && coming) ?? (isFit ? agreedOn(base) : base)
  const after = { ...held, ...quantities }
  const isLower = isDowngrade(pricedFor(from, held), pricedFor(compared, after))
  const isLater = (when ?? (!isFree && isLower ? 'period_end' : 'now')) === 'period_end'
  const atMs = isLater ? periodEnd(subscription, contract, fromMs) : behindBilledFees(found, from, base, fromMs)
  if (pending?.startMs === atMs && Object.keys(quantities).length === 0) return { phases, atMs }
  // A newer version of the plan that it is on is nothing new, nor is a change that is to come already.
  if (key !== from.key && pending?.startMs !== atMs) await refuseArchived(tx, key)
  const baseThen = isLater ? fitting(from, await effectivePlan(tx, key, atMs)) : base
  const to = agreedOn(baseThen)
  if (endMs !== null && endMs <= atMs) {
    throw new Problem('illegal_state', 'The subscription ends before the change would take effect.')
  }
  const before = kept.findLast(({ startMs }) => startMs < atMs)
  if (before !== undefined) checkBasis(from.id === before.planId ? from : await planBefore(tx, before.planId), to)
  const onto = planOfPhase(overrides === undefined ? to : await storedPlan(tx, to, { base: baseThen, overrides }, deps))
  // Quantities go on where the plan asks for them.
  const changed = changedFrom(kept, atMs, (phase) =>
    withQuantities({ ...phase, ...onto }, { ...quantitiesOf(phase), ...quantities }),
  )
  refuseStrange(phaseAt(changed, atMs), quantities)
  refuseQuantities(changed.filter(({ startMs }) => startMs >= atMs))
  return { phases: changed, atMs }
}

/**
 * All on the plan of this phase from an instant on. One that was to be on another has the quantities of the phase before it:
 * its own are those of the change that is taken back.
 */
function onPlanOf(current: NamedPhase, phases: Subscription['phases'], fromMs: number): Subscription['phases'] {
  const { startMs: _, bills: __, kind: ___, quantities: ____, addOns: _____, ...on } = { licences: {}, ...current }
  let held = quantitiesOf(current)
  return changedFrom(phases, fromMs, (phase) => {
    if (phase.planId === current.planId) held = quantitiesOf(phase)
    return withQuantities({ ...phase, ...on }, held)
  })
}

/**
 * Where new periods begin with the change, and fees of the one that begins just then are billed, that one lasts a minute: its
 * invoice gives them back, and not that of a period which may be a year long.
 */
function behindBilledFees({ subscription, feesBilled }: Changeable, from: Plan, to: Plan, fromMs: number): number {
  const isBilled = feesBilled && fromMs === subscription.nextPeriod?.startMs
  return isBilled && !isSameRecurrence(from, to) ? fromMs + MINUTE_MS : fromMs
}

type OfPlan = Omit<NamedPhase, keyof Phase> & { planId: string }

/** What a phase says of its plan. */
export function planOfPhase(plan: Plan): OfPlan {
  const { id: planId, key: planKey, version: planVersion, interval, every, alignment } = plan
  const periods = { interval, every, alignment }
  const more = { negotiated: plan.agreed !== undefined, licences: licencesOf(plan) }
  return { planId, planKey, planVersion, periods, feesAhead: billsFeesAhead(plan), ...more }
}

/** A plan in whose currency the customer pays. */
function fitting(from: Plan, to: Plan | undefined): Plan {
  if (to === undefined) {
    const errors = [{ path: 'plan', message: 'There is no such plan.' }]
    throw new Problem('invalid_request', 'The change is not valid.', { errors })
  }
  if (to.kind === 'add_on') {
    const errors = [{ path: 'plan', message: 'This is an add-on: send it among add_ons.' }]
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
