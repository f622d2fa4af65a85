import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Cadence } from '../../../schemas/time/period.ts'
import { findCustomer } from '../customers/customers.postgres.ts'
import type { PlanOfProduct } from '../products/product.ts'
import { findProduct } from '../products/products.postgres.ts'
import { findSubscriptionByKey } from '../subscriptions/subscriptions.postgres.ts'
import { plansOfProducts } from './listings.postgres.ts'

/** A plan by the product that it is of, the period that it has, and the currency in which the customer pays. */
export type ChoosePlan = Cadence & {
  product: string
  /** Of the subscription that is to be created, its customer by id or external key. */
  externalKey: string
  customer: string
  startMs: number
}

/**
 * The key of the one plan of a product that fits. A subscription that is there already keeps the plan that was chosen for
 * it as long as that is of the product, so that the same call again is the same whatever was added to the product since.
 * Once it was moved out, nobody can tell the same call from one for another product: it is a conflict.
 * @throws Problem invalid_request for a product or customer that is not there, or where not exactly one plan fits; conflict
 * where the subscription is there and on a plan that is not of the product.
 */
export async function choosePlan(tx: TenantTransaction, choice: ChoosePlan): Promise<string> {
  const product = await findProduct(tx, choice.product)
  const customer = await findCustomer(tx, choice.customer)
  if (product === undefined || customer === undefined) {
    throw invalid([
      ...(customer === undefined ? [{ path: 'customer', message: 'There is no such customer.' }] : []),
      ...(product === undefined ? [{ path: 'product', message: 'There is no such product.' }] : []),
    ])
  }
  const plans = (await plansOfProducts(tx, [product.id], choice.startMs)).get(product.id) ?? []
  const ofPeriod = plansOfPeriod(plans, { ...choice, currency: customer.currency })
  const stored = await findSubscriptionByKey(tx, choice.externalKey)
  const before = ofPeriod.find(({ key }) => key === stored?.planKey)
  if (before !== undefined) return before.key
  const fitting = ofPeriod.filter(({ kind, archivedAtMs }) => kind === 'base' && archivedAtMs === null)
  const [plan] = fitting
  if (plan !== undefined && fitting.length === 1) return plan.key
  if (stored !== undefined) {
    const [name, on, of] = [choice.externalKey, stored.planKey, product.key].map((key) => JSON.stringify(key))
    throw new Problem(
      'conflict',
      `Subscription ${name} exists on plan ${on}, which is none of product ${of} for this period: to send the same again, name the plan.`,
    )
  }
  const period = `${choice.interval} × ${choice.every} in ${customer.currency}`
  const found = plan === undefined ? 'no plan' : `${fitting.length} plans (${fitting.map(({ key }) => key).join(', ')})`
  const message = `The product has ${found} for ${period}: name one as \`plan\`.`
  throw invalid([{ path: 'product', message }])
}

function plansOfPeriod(
  plans: readonly PlanOfProduct[],
  { currency, interval, every }: Cadence & { currency: string },
): PlanOfProduct[] {
  return plans.filter((plan) => plan.currency === currency && plan.interval === interval && plan.every === every)
}

function invalid(errors: ProblemError[]): Problem {
  return new Problem('invalid_request', 'The subscription is not valid.', { errors })
}
