import type { ProblemError } from '../../../schemas/http/problem.ts'
import { ADDED_UP } from '../../../schemas/meter/aggregation.ts'
import { isPath } from '../../../schemas/meter/path.ts'
import { isQuantityText, parseQuantity, type Quantity } from '../../../schemas/quantity.ts'
import { isOfSeveralPeriods } from './bounds.ts'
import type { MatrixPrice, PackagePrice, PercentagePrice, Price } from './price.ts'
import { readingOf } from './reading.ts'

/** Members of a price that are text and no decimal. */
const NO_DECIMALS = ['model', 'round', 'up_to']

/**
 * What is wrong with a price of the right shape, as JSON pointers into it; empty when it can be rated. Amounts, rates
 * and units may be 0 but not negative; tiers ascend from above 0, and the last one alone is open. A minimum above the
 * maximum is no error: the maximum comes first, then the true-up.
 */
export function checkPrice(price: Price): ProblemError[] {
  const errors = checkDecimals('', price)
  if ('tiers' in price) errors.push(...checkTiers(price.tiers))
  // What is no decimal cannot be compared.
  if (errors.length > 0) return errors
  if (price.discount_percent !== undefined && parseQuantity(price.discount_percent).greaterThan(100)) {
    errors.push({ path: '/discount_percent', message: 'A discount takes off 100 percent at most.' })
  }
  errors.push(...checkCommitment(price))
  if (price.model === 'package') errors.push(...checkPackage(price))
  if (price.model === 'percentage') errors.push(...checkPercentage(price))
  if (price.model === 'matrix') errors.push(...checkMatrix(price))
  return errors
}

/**
 * What is wrong with a price that a plan is to have, for a meter that aggregates so, as far as that is known. A price that
 * is made from single events needs a meter whose quantity is their sum.
 */
export function checkBillable(price: Price, aggregation?: string): ProblemError[] {
  const errors = checkPrice(price)
  if (errors.length > 0) return errors
  if (price.model === 'matrix') {
    const strange = price.dimensions.flatMap((name, index) => (isPath(name) ? [] : [index]))
    const message =
      'A plan reads this inside the data of events: a dotted path, whose keys are letters, digits, _ and -.'
    errors.push(...strange.map((index) => ({ path: `/dimensions/${index}`, message })))
  }
  if (aggregation === undefined || ADDED_UP.some((one) => one === aggregation)) return errors
  if (readingOf(price) === 'total') return errors
  const what = price.model === 'matrix' ? 'A matrix price' : 'A percentage with parts per event'
  const message = `${what} needs a meter that adds its events up (${ADDED_UP.join(', ')}); this one is of ${aggregation}.`
  return [...errors, { path: '/model', message }]
}

/** The decimals of a price, and of its tiers or cells. */
function checkDecimals(path: string, part: object): ProblemError[] {
  return Object.entries(part).flatMap(([name, value]) => {
    const at = `${path}/${name}`
    if (typeof value === 'string') return NO_DECIMALS.includes(name) ? [] : checkDecimal(at, value)
    if (name !== 'tiers' && name !== 'cells') return []
    return (value as object[]).flatMap((member, index) => checkDecimals(`${at}/${index}`, member))
  })
}

function checkDecimal(path: string, text: string): ProblemError[] {
  if (!isQuantityText(text)) return [notDecimal(path)]
  return parseQuantity(text).isNegative() ? [{ path, message: 'This must not be negative.' }] : []
}

function checkTiers(tiers: readonly { up_to: string | null }[]): ProblemError[] {
  if (tiers.length === 0) return [{ path: '/tiers', message: 'A price with tiers needs at least one.' }]
  const errors: ProblemError[] = []
  let lower = parseQuantity('0')
  for (const [index, tier] of tiers.entries()) {
    const upper = checkUpTo(`/tiers/${index}/up_to`, tier.up_to, lower, index === tiers.length - 1)
    if ('message' in upper) errors.push(upper)
    else lower = upper.bound
  }
  return errors
}

function checkUpTo(
  path: string,
  upTo: string | null,
  lower: Quantity,
  isLast: boolean,
): ProblemError | { bound: Quantity } {
  if (isLast) return upTo === null ? { bound: lower } : { path, message: 'The last tier must have up_to null.' }
  if (upTo === null) return { path, message: 'Only the last tier may have up_to null.' }
  if (!isQuantityText(upTo)) return notDecimal(path)
  const bound = parseQuantity(upTo)
  if (bound.greaterThan(lower)) return { bound }
  return { path, message: `Tiers must ascend: ${upTo} is not above ${lower.toFixed()}.` }
}

function checkCommitment(price: Price): ProblemError[] {
  const { model, commitment_amount: commitment, overage_factor: factor, commitment_periods: periods } = price
  if (commitment === undefined) {
    const message = 'What is overage is what goes beyond a commitment: give its commitment_amount.'
    if (factor !== undefined) return [{ path: '/overage_factor', message }]
    const ofWhat = 'These are the periods of a commitment: give its commitment_amount.'
    return periods === undefined ? [] : [{ path: '/commitment_periods', message: ofWhat }]
  }
  if (isOfSeveralPeriods(price)) {
    const beside = (['minimum_amount', 'maximum_amount'] as const).filter((name) => price[name] !== undefined)
    const message = 'A period has none of its own where its commitment is one of several periods.'
    if (beside.length > 0) return beside.map((name) => ({ path: `/${name}`, message }))
  }
  if (model !== 'flat') return []
  return [{ path: '/commitment_amount', message: 'A flat price has no usage that could draw a commitment down.' }]
}

function checkPackage(price: PackagePrice): ProblemError[] {
  if (parseQuantity(price.package_size).greaterThan(0)) return []
  return [{ path: '/package_size', message: 'A package holds more than 0 units.' }]
}

function checkPercentage(price: PercentagePrice): ProblemError[] {
  const errors: ProblemError[] = []
  if (!parseQuantity(price.free_events ?? '0').isInteger()) {
    errors.push({ path: '/free_events', message: 'This must be a whole number.' })
  }
  const { min_per_event: least, max_per_event: most } = price
  if (least !== undefined && most !== undefined && parseQuantity(least).greaterThan(parseQuantity(most))) {
    errors.push({ path: '/min_per_event', message: 'The minimum of an event is above its max_per_event.' })
  }
  return errors
}

function checkMatrix({ dimensions, cells }: MatrixPrice): ProblemError[] {
  const repeated = dimensions.flatMap((name, index) =>
    dimensions.indexOf(name) < index
      ? [{ path: `/dimensions/${index}`, message: 'This dimension is named before.' }]
      : [],
  )
  const strange = cells.flatMap(({ when }, index) =>
    Object.keys(when)
      .filter((name) => !dimensions.includes(name))
      .map((name) => ({ path: `/cells/${index}/when/${name}`, message: 'This is none of the dimensions.' })),
  )
  return [...repeated, ...strange]
}

function notDecimal(path: string): ProblemError {
  return { path, message: 'This must be a decimal with at most 26 digits before and 12 after the point.' }
}
