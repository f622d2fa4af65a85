import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Plan } from './plan.ts'
import { findPlan } from './plans.postgres.ts'

/** @throws Problem not_found. Another tenant's plan is not there either. */
export async function readPlan(tx: TenantTransaction, key: string): Promise<Plan> {
  const plan = await findPlan(tx, key)
  if (plan === undefined) throw new Problem('not_found', 'There is no plan with this key.')
  return plan
}
