import { Value } from 'typebox/value'
import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { Charge, Plan } from '../../agreements/plans/plan.ts'
import { planHash } from '../../agreements/plans/plan-hash.ts'
import { findPlans } from '../../agreements/plans/plans.postgres.ts'
import type { Transact } from '../../transaction.ts'
import { checkBillable } from '../rating/check-price.ts'
import { Price } from '../rating/price.ts'
import type { PlanOf } from './rate-chunk.ts'

/** The plans of the catalogue that a run needs, each read once: a plan never changes. */
export type PlanCache = Map<string, Plan<Price> | Problem>

/**
 * Reads the plans that the cache lacks. Private versions are as many as customers that negotiated: they are kept for the
 * one answer, and read again with each chunk that needs them, so that a run does not grow with them. `kept: all`: they stay
 * in the cache, for who reads them in a transaction that is undone.
 */
export async function loadPlans(
  transact: Transact,
  tenantId: TenantId,
  cache: PlanCache,
  planIds: readonly string[],
  kept: 'catalog' | 'all' = 'catalog',
): Promise<PlanOf> {
  const agreed: PlanCache = new Map()
  const missing = [...new Set(planIds)].filter((id) => !cache.has(id))
  if (missing.length > 0) {
    for (const plan of await transact(tenantId, (tx) => findPlans(tx, missing))) {
      const isKept = plan.agreed === undefined || kept === 'all'
      const into = isKept ? cache : agreed
      into.set(plan.id, billable(plan))
    }
  }
  return (planId) =>
    cache.get(planId) ?? agreed.get(planId) ?? new Problem('calculation_failed', `Plan ${planId} is not there.`)
}

/** What is stored is checked again: what cannot be rated, or was changed since, parks its subscriptions. */
function billable(plan: Plan): Plan<Price> | Problem {
  if (planHash(plan) !== plan.hash) {
    const what = `Version ${plan.version} of plan ${JSON.stringify(plan.key)}`
    return new Problem('calculation_failed', `${what} is not what was stored: its content has another hash.`)
  }
  const charges = plan.charges.flatMap((charge): Charge<Price>[] => {
    const { price } = charge
    return Value.Check(Price, price) && checkBillable(price).length === 0 ? [{ ...charge, price }] : []
  })
  if (charges.length === plan.charges.length) return { ...plan, charges }
  return new Problem('calculation_failed', `Plan ${JSON.stringify(plan.key)} has a price that cannot be rated.`)
}
