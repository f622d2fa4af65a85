import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { ADDED_UP } from '../../../schemas/meter/aggregation.ts'
import { isPath } from '../../../schemas/meter/path.ts'
import { isCurrency } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Interval } from '../../../schemas/time/period.ts'
import { checkQuantity } from './check-quantity.ts'
import type { AgreedPrice, Charge, PlanContent } from './plan.ts'
import { existingMeters } from './plans.postgres.ts'

/**
 * What is wrong with a price, as JSON pointers into it; with the aggregation of its meter, once that is known, also what is
 * wrong with both together. Rating knows; it lies above agreements, so it is handed in.
 */
export type CheckPrice<Price extends AgreedPrice> = (price: Price, aggregation?: string) => ProblemError[]

/** A period is ten years long at most; of what is counted by days, 366 of them. */
const MAX_EVERY: Record<Interval, number> = { day: 366, week: 366, month: 120, quarter: 40, half_year: 20, year: 10 }

/**
 * Comes before anything else is done with the content: what is no price may be nested as deeply as it likes, which its
 * hash could not follow.
 * @throws Problem invalid_request.
 */
export function refusePrices<Price extends AgreedPrice>(
  { charges }: PlanContent<Price>,
  checkPrice: CheckPrice<Price>,
): void {
  const errors = charges.flatMap(({ price }, index) => checkPrice(price).map((error) => inPrice(index, error)))
  if (errors.length > 0) throw new Problem('invalid_request', 'A price of the plan is not valid.', { errors })
}

function inPrice(index: number, { path: pointer, message }: ProblemError): ProblemError {
  return { path: `charges.${index}.price${pointer.replaceAll('/', '.')}`, message }
}

/** What is wrong with content beside its prices; empty when it can be billed. Its meters are kept until the commit. */
export async function checkContent<Price extends AgreedPrice>(
  tx: TenantTransaction,
  content: PlanContent<Price>,
  checkPrice: CheckPrice<Price>,
): Promise<ProblemError[]> {
  const meters = content.charges.flatMap((charge) => charge.meter ?? [])
  const known = await existingMeters(tx, meters)
  return [
    ...checkPlan(content),
    ...content.charges.flatMap((_, index) => checkCharge(content, index, known, checkPrice)),
  ]
}

/** What decides about periods, how they are cut and whose money it is stays the same in all versions of a plan. */
export function checkSameTerms(stored: PlanContent, content: PlanContent): ProblemError[] {
  return (['currency', 'interval', 'every', 'alignment', 'prorationBasis', 'kind'] as const)
    .filter((name) => stored[name] !== content[name])
    .map((name) => ({
      path: name === 'prorationBasis' ? 'proration_basis' : name,
      message: `This is ${JSON.stringify(stored[name] ?? 'base')} in every version of the plan: make a plan with another key.`,
    }))
}

function checkPlan({ currency, interval, every }: PlanContent): ProblemError[] {
  const errors: ProblemError[] = []
  if (!isCurrency(currency)) {
    errors.push({ path: 'currency', message: 'This is not an active ISO 4217 currency.' })
  }
  if (every > MAX_EVERY[interval]) {
    errors.push({ path: 'every', message: `Of the interval ${interval} this is ${MAX_EVERY[interval]} at most.` })
  }
  return errors
}

/** `aggregations`: of the meters that are known. */
function checkCharge<Price extends AgreedPrice>(
  { charges }: PlanContent<Price>,
  index: number,
  aggregations: ReadonlyMap<string, string>,
  checkPrice: CheckPrice<Price>,
): ProblemError[] {
  const charge = charges[index]
  if (charge === undefined) return []
  const path = `charges.${index}`
  const errors: ProblemError[] = []
  if (charges.findIndex((other) => other.key === charge.key) < index) {
    errors.push({ path: `${path}.key`, message: 'Another charge of the plan has this key.' })
  }
  const flat = charge.price.model === 'flat'
  if (flat && charge.meter !== null) {
    errors.push({ path: `${path}.meter`, message: 'A flat price has no meter.' })
  }
  errors.push(...checkQuantity(charge).map(({ path: at, message }) => ({ path: `${path}.${at}`, message })))
  const aggregation = charge.meter === null ? undefined : aggregations.get(charge.meter)
  if (charge.meter !== null && aggregation === undefined) {
    errors.push({ path: `${path}.meter`, message: `There is no meter ${JSON.stringify(charge.meter)}.` })
  }
  if (aggregation !== undefined) {
    errors.push(...checkPrice(charge.price, aggregation).map((error) => inPrice(index, error)))
  }
  errors.push(...checkAttributes(charge, aggregation).map((message) => ({ path: `${path}.attributes`, message })))
  return errors
}

const MOST_ATTRIBUTES = 5

/** A line says how much of its quantity has which values, so its quantity has to be the sum of its events. */
function checkAttributes({ attributes = [] }: Charge, aggregation: string | undefined): string[] {
  if (attributes.length === 0) return []
  const errors: string[] = []
  if (attributes.length > MOST_ATTRIBUTES) errors.push(`A line lists ${MOST_ATTRIBUTES} properties at most.`)
  if (new Set(attributes).size < attributes.length) errors.push('A property is named twice.')
  const strange = attributes.find((name) => !isPath(name))
  if (strange !== undefined) errors.push(`${JSON.stringify(strange)} is no dotted path inside the data of events.`)
  if (aggregation === undefined || !ADDED_UP.some((one) => one === aggregation)) {
    errors.push(`Only a charge whose meter adds its events up (${ADDED_UP.join(', ')}) can list properties of them.`)
  }
  return errors
}
