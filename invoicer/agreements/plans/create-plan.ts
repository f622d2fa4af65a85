import { isDeepStrictEqual } from 'node:util'
import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { isCurrency } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { AgreedPrice, Plan } from './plan.ts'
import { existingMeters, findPlan, insertCharges, insertPlan } from './plans.postgres.ts'

export type CreatePlan<Price extends AgreedPrice> = Omit<Plan<Price>, 'id' | 'createdAtMs'>
/** What is wrong with a price, as JSON pointers into it. Rating knows; it lies above agreements, so it is handed in. */
export type CheckPrice<Price extends AgreedPrice> = (price: Price) => ProblemError[]

/**
 * Creates a plan once per key: the same content again answers the stored one.
 * @throws Problem invalid_request for a currency, price, meter or set of charges that cannot be billed; conflict for
 * other content under the same key.
 */
export async function createPlan<Price extends AgreedPrice>(
  tx: TenantTransaction,
  input: CreatePlan<Price>,
  checkPrice: CheckPrice<Price>,
  means: Means,
): Promise<{ plan: Plan; created: boolean }> {
  const meters = input.charges.flatMap((charge) => charge.meter ?? [])
  const known = await existingMeters(tx, meters)
  const errors = [...checkPlan(input), ...input.charges.flatMap((_, i) => checkCharge(input, i, known, checkPrice))]
  if (errors.length > 0) throw new Problem('invalid_request', 'The plan is not valid.', { errors })
  const plan: Plan = { ...input, id: means.newId(), createdAtMs: means.now() }
  if (!(await insertPlan(tx, plan))) return { plan: await storedPlan(tx, plan), created: false }
  await insertCharges(tx, plan.id, plan.charges)
  const data = { plan_id: plan.id, key: plan.key, currency: plan.currency, interval: plan.interval }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'plan.created', data }], plan.createdAtMs)
  return { plan, created: true }
}

function checkPlan(input: CreatePlan<AgreedPrice>): ProblemError[] {
  if (isCurrency(input.currency)) return []
  return [{ path: 'currency', message: 'This is not an active ISO 4217 currency.' }]
}

function checkCharge<Price extends AgreedPrice>(
  input: CreatePlan<Price>,
  index: number,
  knownMeters: ReadonlySet<string>,
  checkPrice: CheckPrice<Price>,
): ProblemError[] {
  const charge = input.charges[index]
  if (charge === undefined) return []
  const path = `charges.${index}`
  const errors = checkPrice(charge.price).map(({ path: pointer, message }) => ({
    path: `${path}.price${pointer.replaceAll('/', '.')}`,
    message,
  }))
  if (input.charges.findIndex((other) => other.key === charge.key) < index) {
    errors.push({ path: `${path}.key`, message: 'Another charge of the plan has this key.' })
  }
  const flat = charge.price.model === 'flat'
  if (flat && charge.meter !== null) {
    errors.push({ path: `${path}.meter`, message: 'A flat price has no meter.' })
  }
  if (!flat && charge.meter === null) {
    errors.push({ path: `${path}.meter`, message: `A ${charge.price.model} price needs a meter.` })
  }
  if (charge.meter !== null && !knownMeters.has(charge.meter)) {
    errors.push({ path: `${path}.meter`, message: `There is no meter ${JSON.stringify(charge.meter)}.` })
  }
  return errors
}

async function storedPlan(tx: TenantTransaction, wanted: Plan): Promise<Plan> {
  const stored = await findPlan(tx, wanted.key)
  if (stored === undefined) throw new Problem('internal', 'A stored plan could not be read.')
  if (isDeepStrictEqual(stored, { ...wanted, id: stored.id, createdAtMs: stored.createdAtMs })) return stored
  throw new Problem('conflict', `Plan ${JSON.stringify(wanted.key)} exists with other content. A plan never changes.`)
}
