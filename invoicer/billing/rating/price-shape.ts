import { Compile } from 'typebox/compile'
import type { ProblemError } from '../../../schemas/http/problem.ts'
import { checkBillable } from './check-price.ts'
import { PRICE_OF_MODEL, type Price } from './price.ts'

type Model = keyof typeof PRICE_OF_MODEL
/** What a validator says; of the parameters those that name members or what they may be. */
type Complaint = {
  keyword: string
  instancePath: string
  message: string
  params: {
    additionalProperties?: readonly string[]
    requiredProperties?: readonly string[]
    allowedValue?: unknown
  }
}
type Validator = { Check: (value: unknown) => boolean; Errors: (value: unknown) => unknown[] }

export const PRICE_MODELS = Object.keys(PRICE_OF_MODEL)
export const DECIMAL_FORM = 'Send a decimal as a string, with at most 26 digits before and 12 after the point.'

/** Where a price has text that is no decimal. */
const NO_DECIMAL = /^\/(dimensions|cells\/\d+\/when|round)\b/

const validators = new Map<Model, Validator>()

/**
 * What is wrong with the shape of a price, as a JSON pointer into it; undefined for what is a {@link Price}. The price is
 * compared with the schema of its own model: of a union one would hear what it lacks to each of the others.
 */
export function checkShape(price: unknown): ProblemError | undefined {
  if (typeof price !== 'object' || price === null || Array.isArray(price)) {
    return { path: '', message: 'A price is an object with a model.' }
  }
  const model = Object.hasOwn(price, 'model') ? (price as { model: unknown }).model : undefined
  if (!isModel(model)) return { path: '/model', message: `Send one of ${PRICE_MODELS.join(', ')}.` }
  const validator = validatorOf(model)
  return validator.Check(price) ? undefined : worst(validator.Errors(price) as Complaint[])
}

/** What is wrong with what is to be the price of a plan. */
export function checkPlanPrice(price: unknown, aggregation?: string): ProblemError[] {
  const wrong = checkShape(price)
  return wrong === undefined ? checkBillable(price as Price, aggregation) : [wrong]
}

function isModel(model: unknown): model is Model {
  return typeof model === 'string' && Object.hasOwn(PRICE_OF_MODEL, model)
}

function validatorOf(model: Model): Validator {
  const known = validators.get(model)
  if (known !== undefined) return known
  const compiled = Compile(PRICE_OF_MODEL[model])
  validators.set(model, compiled)
  return compiled
}

/** Of several errors the one that names a member, else the first. */
function worst(complaints: readonly Complaint[]): ProblemError {
  for (const { instancePath, params } of complaints) {
    const [unknown] = params.additionalProperties ?? []
    const noField = 'There is no such field in a price of this model.'
    if (unknown !== undefined) return { path: `${instancePath}/${unknown}`, message: noField }
    const [missing] = params.requiredProperties ?? []
    if (missing !== undefined) return { path: `${instancePath}/${missing}`, message: 'This is missing.' }
  }
  const [first] = complaints
  if (first === undefined) return { path: '', message: 'This is no price.' }
  const allowed = complaints.flatMap(({ instancePath, keyword, params }) =>
    instancePath === first.instancePath && keyword === 'const' ? [params.allowedValue] : [],
  )
  if (allowed.length > 0) return { path: first.instancePath, message: `Send one of ${allowed.join(', ')}.` }
  if (first.message === 'must be array') return { path: first.instancePath, message: 'This must be a list.' }
  const isDecimal = first.message === 'must be string' && !NO_DECIMAL.test(first.instancePath)
  const message = first.keyword === 'pattern' || isDecimal ? DECIMAL_FORM : `This ${first.message}.`
  return { path: first.instancePath, message }
}
