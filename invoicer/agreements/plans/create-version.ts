import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { type CheckPrice, checkContent, checkSameTerms, refusePrices } from './check-plan.ts'
import { fill, isSame, type NewContent, planOf } from './create-plan.ts'
import { checkEffectiveFrom, defaultEffectiveFrom } from './effective-from.ts'
import type { AgreedPrice, Plan } from './plan.ts'
import { findLatestPlan, findPlan, insertCharges, insertPlan } from './plans.postgres.ts'

export type CreateVersion<Price extends AgreedPrice> = {
  key: string
  /** The number that it is to have; the next one when left out. Named, a call can be sent again at any time. */
  version: number | undefined
  /** Now when left out (`defaultEffectiveFrom`). */
  effectiveFromMs: number | undefined
  content: NewContent<Price>
}

/**
 * Adds a version to a plan. Whoever is subscribed stays on the version that they have, so that nothing running is priced
 * anew; who begins from its date on takes this one. The same content again answers the stored version.
 * @throws Problem not_found; invalid_request for content that cannot be billed, other terms than those of the plan, or a
 * date before now, before that of the latest version or years ahead; conflict for a number or date that the plan does
 * not have.
 */
export async function createVersion<Price extends AgreedPrice>(
  tx: TenantTransaction,
  input: CreateVersion<Price>,
  checkPrice: CheckPrice<Price>,
  means: Means,
): Promise<{ plan: Plan; created: boolean }> {
  const latest = await findLatestPlan(tx, input.key)
  if (latest === undefined) throw new Problem('not_found', 'There is no plan with this key.')
  // A price that is changed does not change when fees are billed.
  const content = fill({ ...input.content, fees: input.content.fees ?? latest.fees })
  refusePrices(content, checkPrice)
  const nowMs = means.now()
  // Subscriptions begin at whole minutes, and so do versions.
  const effectiveFromMs =
    input.effectiveFromMs === undefined ? defaultEffectiveFrom(latest, nowMs) : floorToMinute(input.effectiveFromMs)
  const plan = planOf(content, { key: input.key, version: latest.version + 1, effectiveFromMs }, means)
  const stored = await storedVersion(tx, input, latest, plan)
  if (stored !== undefined) return { plan: stored, created: false }
  const errors = [
    ...checkSameTerms(latest, content),
    ...checkEffectiveFrom(latest, effectiveFromMs, nowMs),
    ...(await checkContent(tx, content, checkPrice)),
  ]
  if (errors.length > 0) throw new Problem('invalid_request', 'The version is not valid.', { errors })
  // Who came second looks again: the version that won may be this very one.
  if (!(await insertPlan(tx, plan))) return createVersion(tx, input, checkPrice, means)
  await insertCharges(tx, plan.id, plan.charges)
  const { id, key, version, hash } = plan
  const data = { plan_id: id, key, version, effective_from: new Date(effectiveFromMs).toISOString(), hash }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'plan.version_created', data }], plan.createdAtMs)
  return { plan, created: true }
}

/** The version that this call made before, or another that says the same; undefined if there is none yet. */
async function storedVersion(
  tx: TenantTransaction,
  { key, version, effectiveFromMs }: { key: string; version: number | undefined; effectiveFromMs: number | undefined },
  latest: Plan,
  wanted: Plan,
): Promise<Plan | undefined> {
  const stored = version === undefined ? latest : await findPlan(tx, key, version)
  if (stored === undefined) {
    if (version === wanted.version) return undefined
    throw new Problem('conflict', `The latest version is ${latest.version}: the next is ${wanted.version}.`)
  }
  if (!isSame(stored, wanted)) {
    if (version === undefined) return undefined
    throw new Problem('conflict', `Version ${version} exists with other content. The next is ${wanted.version}.`)
  }
  if (effectiveFromMs === undefined || wanted.effectiveFromMs === stored.effectiveFromMs) return stored
  const since = stored.effectiveFromMs === null ? 'always' : `from ${new Date(stored.effectiveFromMs).toISOString()}`
  throw new Problem('conflict', `Version ${stored.version} has this content already; it is in effect ${since}.`)
}
