import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Plan } from '../plans/plan.ts'
import { findPlans } from '../plans/plans.postgres.ts'
import type { NamedPhase } from './subscription.ts'

/** A plan that a phase carries beside its own, and how many of it: its fees are charged so often, its usage once. */
export type AddOn = { planId: string; quantity: string }
/** The same with key and version, and whether it bills fees in advance. */
export type NamedAddOn = AddOn & { planKey: string; planVersion: number; feesAhead: boolean }

/** The same with these add-ons, in the order of their ids. */
export function withAddOns<P extends { addOns?: readonly AddOn[] }>(phase: P, addOns: readonly NamedAddOn[]): P {
  const { addOns: _, ...rest } = phase
  const sorted = [...addOns].sort((a, b) => (a.planId < b.planId ? -1 : 1))
  return { ...rest, ...(sorted.length === 0 ? {} : { addOns: sorted }) } as P
}

/** As the history and answers tell them. */
export function addOnsTold(addOns: readonly NamedAddOn[]): { plan: string; plan_version: number; quantity: string }[] {
  return addOns.map(({ planKey, planVersion, quantity }) => ({ plan: planKey, plan_version: planVersion, quantity }))
}

/**
 * Plans that are served together have the same periods, and price no meter twice: the same usage would be billed twice. Their
 * charges of usage have keys of their own, by which late usage finds what was billed.
 * @throws Problem illegal_state; conflict.
 */
export async function refuseAddOns(tx: TenantTransaction, phases: readonly NamedPhase[]): Promise<void> {
  const carrying = phases.filter(({ addOns = [] }) => addOns.length > 0)
  if (carrying.length === 0) return
  const ids = carrying.flatMap(({ planId, addOns = [] }) => [planId, ...addOns.map((addOn) => addOn.planId)])
  const plans = new Map((await findPlans(tx, [...new Set(ids)])).map((plan) => [plan.id, plan]))
  for (const { planId, addOns = [] } of carrying) {
    const [base, ...added] = [planId, ...addOns.map((addOn) => addOn.planId)].map((id) => planOf(plans, id))
    if (base === undefined) continue
    for (const [index, addOn] of added.entries()) {
      refusePeriods(base, addOn)
      for (const other of [base, ...added.slice(0, index)]) refuseSameUsage(other, addOn)
    }
  }
}

function planOf(plans: ReadonlyMap<string, Plan>, id: string): Plan {
  const plan = plans.get(id)
  if (plan === undefined) throw new Problem('internal', 'The plan of a subscription could not be read.')
  return plan
}

function refusePeriods(base: Plan, addOn: Plan): void {
  if (base.currency === addOn.currency && base.interval === addOn.interval && base.every === addOn.every) return
  const said = ({ key, every, interval, currency }: Plan) =>
    `${JSON.stringify(key)} (${every} ${interval}, ${currency})`
  throw new Problem(
    'illegal_state',
    `Add-on ${said(addOn)} has other periods or another currency than plan ${said(base)}: take an add-on, or a plan, with ` +
      'the same ones, or detach it before.',
  )
}

function refuseSameUsage(one: Plan, other: Plan): void {
  for (const { meter, key } of one.charges) {
    if (meter === null) continue
    const same = other.charges.find((charge) => charge.meter !== null && (charge.meter === meter || charge.key === key))
    if (same === undefined) continue
    const both = `Plans ${JSON.stringify(one.key)} and ${JSON.stringify(other.key)}`
    throw new Problem(
      'conflict',
      same.meter === meter
        ? `${both} price meter ${JSON.stringify(meter)} at the same time: the same usage would be billed twice.`
        : `${both} both have a charge of usage with the key ${JSON.stringify(key)}: give it another one.`,
    )
  }
}
