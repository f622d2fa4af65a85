import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import { refuseArchived } from '../plans/listing.ts'
import { billsFeesAhead } from '../plans/plan.ts'
import { effectivePlan, findPlans } from '../plans/plans.postgres.ts'
import { type NamedAddOn, withAddOns } from './add-ons.ts'
import { whenMs } from './change-quantities.ts'
import { stateAfter, stateAt } from './lifecycle.ts'
import { changedFrom, phaseAt } from './phases.ts'
import { faultOfQuantities, isLess, licencesOf, type Quantities } from './quantities.ts'
import { changeableFrom } from './running-period.ts'
import type { NamedPhase, Subscription } from './subscription.ts'
import type { Changeable } from './subscriptions.postgres.ts'

/** An add-on by its key, and how many of it. */
export type WantedAddOn = { plan: string; quantity: string }
/** All add-ons that there shall be, and when; null: fewer with the period's end, else now. */
export type AddOnsChange = { addOns: readonly WantedAddOn[]; when: 'now' | 'period_end' | null }

/**
 * The phases after add-ons were attached or detached. More takes effect at once, fewer at the period's end, unless told. One
 * that is there already stays on its version; another is taken in the version in effect then.
 * @throws Problem invalid_request for a plan that is not there or no add-on, or a quantity that it does not take;
 * illegal_state.
 */
export async function phasesWithAddOns(
  tx: TenantTransaction,
  found: Changeable,
  { addOns, when }: AddOnsChange,
  nowMs: number,
): Promise<{ phases: Subscription['phases']; atMs: number }> {
  const { phases } = found.subscription
  stateAfter(stateAt(found.subscription, nowMs), 'change_plan')
  const fromMs = changeableFrom(found.subscription, nowMs)
  const held = quantitiesByKey(phaseAt(phases, fromMs))
  const wanted = Object.fromEntries(addOns.map(({ plan, quantity }) => [plan, quantity]))
  const atMs = whenMs(found, when, fromMs, nowMs, isLess(held, wanted))
  const coming = phases.filter(({ startMs }) => startMs > fromMs)
  const known = [phaseAt(phases, fromMs), ...coming].flatMap((phase) => phase.addOns ?? [])
  const named = await namedAddOns(tx, addOns, known, atMs)
  for (const { planId, planKey } of named) {
    if (!known.some((one) => one.planId === planId)) await refuseArchived(tx, planKey)
  }
  return { phases: changedFrom(phases, atMs, (phase) => withAddOns(phase, named)), atMs }
}

function quantitiesByKey({ addOns = [] }: NamedPhase): Quantities {
  return Object.fromEntries(addOns.map(({ planKey, quantity }) => [planKey, quantity]))
}

/** Each in the version that is carried already, or else in the one in effect at a time. @throws Problem invalid_request. */
export async function namedAddOns(
  tx: TenantTransaction,
  wanted: readonly WantedAddOn[],
  known: readonly NamedAddOn[],
  atMs: number,
): Promise<NamedAddOn[]> {
  const named: NamedAddOn[] = []
  for (const [index, { plan: key, quantity }] of wanted.entries()) {
    if (wanted.findIndex((other) => other.plan === key) < index) refuse(index, 'plan', 'This add-on stands here twice.')
    const carried = known.find(({ planKey }) => planKey === key)
    const [plan] = carried ? await findPlans(tx, [carried.planId]) : [await effectivePlan(tx, key, atMs)]
    if (plan === undefined) return refuse(index, 'plan', 'There is no such plan.')
    if (plan.kind !== 'add_on') refuse(index, 'plan', 'This is a plan to subscribe to, and no add-on.')
    if (parseQuantity(quantity).isZero()) refuse(index, 'quantity', 'This is more than 0: leave it out to detach it.')
    const licences = licencesOf(plan)
    const all = Object.fromEntries(Object.keys(licences).map((charge) => [charge, quantity]))
    const fault = faultOfQuantities({ licences, quantities: all })
    if (fault !== undefined) refuse(index, 'quantity', fault.message)
    const { id: planId, key: planKey, version: planVersion } = plan
    named.push({ planId, quantity, planKey, planVersion, feesAhead: billsFeesAhead(plan) })
  }
  return named
}

function refuse(index: number, member: string, message: string): never {
  const errors = [{ path: `add_ons.${index}.${member}`, message }]
  throw new Problem('invalid_request', 'The add-ons are not valid.', { errors })
}
