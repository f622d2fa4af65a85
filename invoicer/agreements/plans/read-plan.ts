import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Plan } from './plan.ts'
import { effectivePlan, findPlan, listVersions } from './plans.postgres.ts'

/**
 * A version of a plan by its number, or the one in effect at a time.
 * @throws Problem not_found. Another tenant's plan is not there either.
 */
export async function readPlan(
  tx: TenantTransaction,
  key: string,
  wanted: { version: number } | { atMs: number },
): Promise<Plan> {
  const byNumber = 'version' in wanted
  const plan = byNumber ? await findPlan(tx, key, wanted.version) : await effectivePlan(tx, key, wanted.atMs)
  if (plan === undefined) {
    throw new Problem('not_found', `There is no plan with this key${byNumber ? ' and version' : ''}.`)
  }
  return plan
}

/**
 * All versions of a plan in their order.
 * @throws Problem not_found.
 */
export async function readVersions(tx: TenantTransaction, key: string): Promise<Plan[]> {
  const versions = await listVersions(tx, key)
  if (versions.length === 0) throw new Problem('not_found', 'There is no plan with this key.')
  return versions
}
