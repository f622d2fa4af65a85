import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Means } from '../../transaction.ts'
import { type CheckPrice, checkContent } from '../plans/check-plan.ts'
import { isSame } from '../plans/create-plan.ts'
import type { AgreedPrice, Charge, Plan } from '../plans/plan.ts'
import { planHash } from '../plans/plan-hash.ts'
import { findPlans, insertCharges, insertPlan } from '../plans/plans.postgres.ts'
import { findPrivatePlans } from './contracts.postgres.ts'
import { overridden } from './overrides.ts'
import type { Overrides } from './terms.ts'

/** What agreeing on prices needs. Rating knows what is wrong with one; it lies above agreements, so it is handed in. */
export type Negotiating = Means & { checkPrice?: CheckPrice<AgreedPrice> }

/** @throws Problem internal where nobody handed it in. */
export function priceCheck({ checkPrice }: Pick<Negotiating, 'checkPrice'>): CheckPrice<AgreedPrice> {
  if (checkPrice === undefined) throw new Problem('internal', 'Prices of overrides cannot be checked here.')
  return checkPrice
}

/**
 * A version of the catalogue with overrides, which are canonical, as a version of its own for one customer; the very same
 * where they change nothing. It is not stored.
 * @throws Problem invalid_request for overrides that do not fit the version.
 */
export function privatePlan(
  base: Plan,
  overrides: Overrides,
  customerId: string,
  means: Means,
  path = 'overrides',
): Plan {
  const { charges, errors } = overridden(base, overrides, path)
  if (errors.length > 0) throw new Problem('invalid_request', 'The overrides are not valid.', { errors })
  const plan = withCharges(base, charges)
  if (isSame(plan, base)) return base
  return { ...plan, agreed: { baseId: base.id, customerId }, id: means.newId(), createdAtMs: means.now() }
}

/**
 * Stores a private version, or finds the one of the customer that says the same of the same base: asked again, no second
 * one is made. Its meters are kept until the commit.
 * @throws Problem invalid_request for what cannot be billed.
 */
export async function storedPlan(
  tx: TenantTransaction,
  plan: Plan,
  { base, overrides, path = 'overrides' }: { base: Plan; overrides: Overrides; path?: string },
  deps: Negotiating,
): Promise<Plan> {
  if (plan.agreed === undefined) return plan
  const stored = await findPrivatePlans(tx, plan.agreed, plan.hash)
  const same = stored.find((one) => isSame(one, plan))
  if (same !== undefined) return same
  const { paths } = overridden(base, overrides, path)
  const errors = (await checkContent(tx, plan, priceCheck(deps))).map((error) => {
    const inOverrides = error.path.replace(/^charges\.(\d+)/, (place, index) => paths[Number(index)] ?? place)
    return { ...error, path: inOverrides }
  })
  if (errors.length > 0) throw new Problem('invalid_request', 'The overrides are not valid.', { errors })
  if (!(await insertPlan(tx, plan))) throw new Problem('internal', 'A private version could not be stored.')
  await insertCharges(tx, plan.id, plan.charges)
  return plan
}

/** Whether a plan is its base with these canonical overrides; without any: whether it is one of the catalogue. */
export async function isAgreed(tx: TenantTransaction, plan: Plan, overrides: Overrides | undefined): Promise<boolean> {
  if (overrides === undefined) return plan.agreed === undefined
  const [base] = plan.agreed === undefined ? [plan] : await findPlans(tx, [plan.agreed.baseId])
  if (base === undefined) return false
  const { charges, errors } = overridden(base, overrides, '')
  return errors.length === 0 && isSame(withCharges(base, charges), plan)
}

function withCharges(base: Plan, charges: Charge[]): Plan {
  return { ...base, charges, hash: planHash({ ...base, charges }) }
}
