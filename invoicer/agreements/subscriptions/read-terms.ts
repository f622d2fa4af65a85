import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { termEnd } from '../contracts/term-end.ts'
import type { Term } from '../contracts/terms.ts'
import type { Plan } from '../plans/plan.ts'
import { findPlans } from '../plans/plans.postgres.ts'
import type { NamedPhase, Subscription } from './subscription.ts'
import { findChangeable } from './subscriptions.postgres.ts'

/** A phase, up to when it lasts, its plan, and, where that is a private version, the one of the catalogue that it is from. */
export type PhaseTerms = { phase: NamedPhase; endMs: number | null; plan: Plan; base: Plan | null }
/** `termEndMs`: where it would end if it were cancelled with its term now; null without a term. */
export type ReadTerms = {
  subscription: Subscription
  term: Term | null
  termEndMs: number | null
  phases: PhaseTerms[]
}

/**
 * What holds for a subscription when: its phases that have begun or will, with all prices.
 * @throws Problem not_found.
 */
export async function readTerms(tx: TenantTransaction, idOrKey: string, nowMs: number): Promise<ReadTerms> {
  const found = await findChangeable(tx, idOrKey)
  if (found === undefined) throw new Problem('not_found', 'There is no subscription with this id or external key.')
  const { subscription, contract } = found
  const { phases, endMs, agreed } = subscription
  const beginning = phases.filter(({ startMs }, index) => index === 0 || endMs === null || startMs < endMs)
  const plans = await plansById(
    tx,
    beginning.map(({ planId }) => planId),
  )
  const bases = await plansById(
    tx,
    [...plans.values()].flatMap((plan) => plan.agreed?.baseId ?? []),
  )
  const term = agreed?.term ?? null
  return {
    subscription,
    term,
    termEndMs: term && termEnd(contract.startMs, term, contract.zone, nowMs),
    phases: beginning.map((phase, index) => {
      const plan = plans.get(phase.planId)
      if (plan === undefined) throw new Problem('internal', 'The plan of a subscription could not be read.')
      const base = plan.agreed === undefined ? null : (bases.get(plan.agreed.baseId) ?? null)
      return { phase, endMs: beginning[index + 1]?.startMs ?? endMs, plan, base }
    }),
  }
}

async function plansById(tx: TenantTransaction, ids: readonly string[]): Promise<Map<string, Plan>> {
  if (ids.length === 0) return new Map()
  return new Map((await findPlans(tx, [...new Set(ids)])).map((plan) => [plan.id, plan]))
}
