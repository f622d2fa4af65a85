import type { ProblemError } from '../../../schemas/http/problem.ts'
import { isQuantityText, parseQuantity } from '../../../schemas/quantity.ts'
import type { AgreedPrice, AgreedQuantity, Charge } from './plan.ts'

/** Models whose amount follows from a total alone, and so from a quantity that is agreed. */
const OF_A_QUANTITY = ['per_unit', 'graduated', 'volume', 'package']

/** What is wrong with the quantity that a charge is priced by, as paths in it; empty where it is counted, or flat. */
export function checkQuantity({ price, meter, quantity }: Charge<AgreedPrice>): ProblemError[] {
  const { model } = price
  if (quantity === undefined) {
    if (meter !== null || model === 'flat') return []
    const message = OF_A_QUANTITY.includes(model)
      ? `A ${model} price needs a meter, or a quantity that is agreed, such as {"default": "1"} seats.`
      : `A ${model} price needs a meter.`
    return [{ path: 'meter', message }]
  }
  if (meter !== null) return [{ path: 'quantity', message: 'This is counted by its meter: leave one of them out.' }]
  if (!OF_A_QUANTITY.includes(model)) {
    return [{ path: 'quantity', message: `This goes with a price of ${OF_A_QUANTITY.join(', ')}, not of ${model}.` }]
  }
  if ('commitment_amount' in price) {
    const message = 'What is agreed draws nothing down: give a minimum_amount, or a min to the quantity.'
    return [{ path: 'price.commitment_amount', message }]
  }
  return checkBounds(quantity)
}

function checkBounds(quantity: AgreedQuantity): ProblemError[] {
  const strange = (['default', 'min', 'max'] as const).filter((name) => {
    const text = quantity[name]
    return text !== undefined && (!isQuantityText(text) || parseQuantity(text).isNegative())
  })
  if (strange.length > 0) {
    return strange.map((name) => ({ path: `quantity.${name}`, message: 'This must be a decimal of 0 or more.' }))
  }
  const fault = faultOfQuantity(quantity.default, quantity)
  return fault === undefined ? [] : [{ path: 'quantity.default', message: fault }]
}

/** Why no charge can have so much; undefined if it can. */
export function faultOfQuantity(text: string, { min, max }: Pick<AgreedQuantity, 'min' | 'max'>): string | undefined {
  const quantity = parseQuantity(text)
  if (min !== undefined && quantity.lessThan(parseQuantity(min))) return `This must be ${min} or more.`
  if (max !== undefined && quantity.greaterThan(parseQuantity(max))) return `This must be ${max} or less.`
  return undefined
}
