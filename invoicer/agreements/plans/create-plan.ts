import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { type CheckPrice, checkContent, refusePrices } from './check-plan.ts'
import type { AgreedPrice, Plan, PlanContent } from './plan.ts'
import { planHash } from './plan-hash.ts'
import { findPlan, insertCharges, insertPlan } from './plans.postgres.ts'

/** What holds when it is left out; of a plan that is there, fees are billed as by the version before. */
export const PLAN_DEFAULTS = {
  every: 1,
  alignment: 'anniversary',
  graceSeconds: 3600,
  prorationBasis: 'second',
  fees: 'in_advance',
} as const satisfies Partial<PlanContent>
type Defaulted = keyof typeof PLAN_DEFAULTS
/** What a plan is made of. */
export type NewContent<Price extends AgreedPrice> = Omit<PlanContent<Price>, Defaulted> & {
  [Name in Defaulted]?: PlanContent[Name] | undefined
}
export type CreatePlan<Price extends AgreedPrice> = NewContent<Price> & { key: string }

/**
 * Creates version 1 of a plan once per key: the same content again answers the stored one, whatever came after it.
 * @throws Problem invalid_request for a currency, period, price, meter or set of charges that cannot be billed; conflict
 * for other content under the same key.
 */
export async function createPlan<Price extends AgreedPrice>(
  tx: TenantTransaction,
  { key, ...content }: CreatePlan<Price>,
  checkPrice: CheckPrice<Price>,
  means: Means,
): Promise<{ plan: Plan; created: boolean }> {
  const fees = content.fees ?? (await findPlan(tx, key, 1))?.fees
  const filled = fill({ ...content, fees })
  refusePrices(filled, checkPrice)
  const errors = await checkContent(tx, filled, checkPrice)
  const plan = planOf(filled, { key, version: 1, effectiveFromMs: null }, means)
  if (errors.length > 0) {
    // One that was valid when it was stored is answered still, though its meter was archived since.
    const stored = await findPlan(tx, key, 1)
    if (stored !== undefined && isSame(stored, plan)) return { plan: stored, created: false }
    throw new Problem('invalid_request', 'The plan is not valid.', { errors })
  }
  if (!(await insertPlan(tx, plan))) return { plan: await storedPlan(tx, plan), created: false }
  await insertCharges(tx, plan.id, plan.charges)
  const data = { plan_id: plan.id, key, currency: plan.currency, interval: plan.interval, hash: plan.hash }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'plan.created', data }], plan.createdAtMs)
  return { plan, created: true }
}

export function fill<Price extends AgreedPrice>(content: NewContent<Price>): PlanContent<Price> {
  const { every, alignment, graceSeconds, prorationBasis, fees } = content
  return {
    ...content,
    every: every ?? PLAN_DEFAULTS.every,
    alignment: alignment ?? PLAN_DEFAULTS.alignment,
    graceSeconds: graceSeconds ?? PLAN_DEFAULTS.graceSeconds,
    prorationBasis: prorationBasis ?? PLAN_DEFAULTS.prorationBasis,
    fees: fees ?? PLAN_DEFAULTS.fees,
  }
}

/** Content becomes a version. Its prices were checked before: they are hashed. */
export function planOf(
  content: PlanContent,
  version: Pick<Plan, 'key' | 'version' | 'effectiveFromMs'>,
  means: Means,
): Plan {
  return { ...content, ...version, id: means.newId(), hash: planHash(content), createdAtMs: means.now() }
}

/** Whether two versions say the same: by what they charge, however it is spelled, and by the names that they show. */
export function isSame(a: PlanContent & { hash: string }, b: PlanContent & { hash: string }): boolean {
  return a.hash === b.hash && a.name === b.name && a.charges.every(({ name }, index) => name === b.charges[index]?.name)
}

async function storedPlan(tx: TenantTransaction, wanted: Plan): Promise<Plan> {
  const stored = await findPlan(tx, wanted.key, 1)
  if (stored === undefined) throw new Problem('internal', 'A stored plan could not be read.')
  if (isSame(stored, wanted)) return stored
  const key = JSON.stringify(wanted.key)
  throw new Problem(
    'conflict',
    `Plan ${key} exists with other content. What is stored never changes: create a version of the plan.`,
  )
}
