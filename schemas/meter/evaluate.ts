import { cutQuantity, parseQuantity, type Quantity, tryQuantityFromJson, ZERO } from '../quantity.ts'
import { type Path, propertyAt } from './path.ts'
import type { Polynomial, ValueForm } from './polynomial.ts'

/** A quantity: whole ones below 10^15, which nearly all are, as a plain number. */
export type MeterValue = number | Quantity
/** The value of an event's data; undefined if it has none: the event is refused, or counts 0 if it is stored already. */
export type Evaluate = (data: unknown) => MeterValue | undefined

const PLACES = 12
/** Beyond it a product is no quantity; below it, all steps are exact. */
const LARGEST_PRODUCT = parseQuantity('1').times('1e49')
const TOO_LARGE = parseQuantity('1').times('1e26')

/** The path that alone is the value, if so. */
export function plainPathOf([numerator, denominator]: ValueForm): Path | undefined {
  const [term] = numerator
  if (numerator.length !== 1 || denominator.length > 0 || term?.[0] !== '1' || term[1].length !== 1) return undefined
  return term[1][0]
}

/** `signed`: what stands in the data, and what comes out, may be negative. */
export function evaluatorOf(form: ValueForm, signed = false): Evaluate {
  const path = plainPathOf(form)
  if (path) return (data) => numberAt(data, path, signed)
  const [numerator, denominator] = form.map((polynomial) => compilePolynomial(polynomial, signed))
  return (data) => {
    const above = numerator?.(data)
    const below = form[1].length === 0 ? undefined : denominator?.(data)
    if (above === undefined || (below === undefined && form[1].length > 0)) return undefined
    return quantityOrNone(below === undefined ? above : quotient(above, below), signed)
  }
}

/**
 * The decimal at a path, as ClickHouse reads it later: absent or null counts 0. Undefined if what stands there is no
 * decimal within Decimal(38,12), or negative without `signed`.
 */
export function numberAt(data: unknown, path: Path, signed = false): MeterValue | undefined {
  const value = propertyAt(data, path)
  return value === undefined || value === null ? 0 : numberOf(value, signed)
}

export function numberOf(value: unknown, signed = false): MeterValue | undefined {
  if (typeof value === 'number' && Number.isInteger(value) && value < 1e15 && value > -1e15) {
    return (value < 0 && !signed) || Object.is(value, -0) ? undefined : value
  }
  const quantity = tryQuantityFromJson(value)
  return quantity === undefined || (quantity.isNegative() && !signed) ? undefined : quantity
}

/** The first property of a value that is no decimal in the data; undefined if the fault lies in what comes out. */
export function faultyPath([numerator, denominator]: ValueForm, data: unknown, signed = false): Path | undefined {
  const paths = [...numerator, ...denominator].flatMap((term) => term[1])
  return paths.find((path) => numberAt(data, path, signed) === undefined)
}

type CompiledTerm = { coefficient: Quantity; whole: number; paths: readonly Path[] }
/** A number if everything in it is whole and small, which costs a tenth. */
type Sum = number | Quantity

function compilePolynomial(polynomial: Polynomial, signed: boolean): (data: unknown) => Sum | undefined {
  const terms = polynomial.map(([text, paths]) => ({ coefficient: parseQuantity(text), whole: Number(text), paths }))
  return (data) => wholeSum(terms, data, signed) ?? exactSum(terms, data, signed)
}

/** Undefined as soon as something is not whole, or too large for a number to be exact. */
function wholeSum(terms: readonly CompiledTerm[], data: unknown, signed: boolean): number | undefined {
  let sum = 0
  for (const { whole, paths } of terms) {
    let product = whole
    if (!Number.isSafeInteger(product)) return undefined
    for (const path of paths) {
      const factor = numberAt(data, path, signed)
      if (typeof factor !== 'number') return undefined
      product *= factor
      if (!Number.isSafeInteger(product)) return undefined
    }
    sum += product
    if (!Number.isSafeInteger(sum)) return undefined
  }
  return sum
}

/** Each product cut to 12 places after each multiplication, in the order of the form. */
function exactSum(terms: readonly CompiledTerm[], data: unknown, signed: boolean): Quantity | undefined {
  let sum = ZERO
  for (const { coefficient, paths } of terms) {
    let product = coefficient
    for (const path of paths) {
      const factor = numberAt(data, path, signed)
      if (factor === undefined) return undefined
      product = cutQuantity(product.times(factor), PLACES)
      if (product.abs().greaterThanOrEqualTo(LARGEST_PRODUCT)) return undefined
    }
    sum = sum.plus(product)
  }
  return sum
}

function quotient(above: Sum, below: Sum): Sum {
  if (Number(below) === 0) return 0
  if (typeof above === 'number' && typeof below === 'number' && above % below === 0) return above / below
  return cutQuantity(ZERO.plus(above).dividedBy(below), PLACES)
}

function quantityOrNone(value: Sum, signed: boolean): MeterValue | undefined {
  if (typeof value === 'number') return value < 0 && !signed ? undefined : value + 0
  if (value.isZero()) return 0
  return (value.isNegative() && !signed) || value.abs().greaterThanOrEqualTo(TOO_LARGE) ? undefined : value
}
