import { type Static, Type } from 'typebox'
import type { ProblemError } from '../../../schemas/http/problem.ts'
import { isQuantityText, parseQuantity, type Quantity, QuantityText } from '../../../schemas/quantity.ts'

const strict = { additionalProperties: false }

/** The same amount whatever the quantity. */
export const FlatPrice = Type.Object({ model: Type.Literal('flat'), amount: QuantityText }, strict)
export type FlatPrice = Static<typeof FlatPrice>

export const PerUnitPrice = Type.Object({ model: Type.Literal('per_unit'), unit_amount: QuantityText }, strict)
export type PerUnitPrice = Static<typeof PerUnitPrice>

/** `up_to` is inclusive and may be fractional; that of the last tier, and of no other, is null. */
export const Tier = Type.Object(
  {
    up_to: Type.Union([QuantityText, Type.Null()]),
    unit_amount: QuantityText,
    flat_amount: Type.Optional(QuantityText),
  },
  strict,
)
export type Tier = Static<typeof Tier>

export const GraduatedPrice = Type.Object(
  { model: Type.Literal('graduated'), tiers: Type.Array(Tier, { minItems: 1, maxItems: 1000 }) },
  strict,
)
export type GraduatedPrice = Static<typeof GraduatedPrice>

/** What one charge costs. Amounts are decimals in major units, as text. */
export const Price = Type.Union([FlatPrice, PerUnitPrice, GraduatedPrice])
export type Price = Static<typeof Price>

/** How an amount came about, unrounded. All decimals are text in canonical form. */
export type BreakdownEntry =
  | { type: 'flat'; amount: string }
  | { type: 'per_unit'; quantity: string; unit_amount: string; amount: string }
  | {
      type: 'tier'
      /** From 1. */
      tier: number
      up_to: string | null
      quantity: string
      unit_amount: string
      flat_amount: string
      amount: string
    }

/** What a model answers: the exact amount in major units, and its parts, which sum to it. */
export type Rated = { exact: Quantity; breakdown: BreakdownEntry[] }

/**
 * What is wrong with a price of the right shape, as JSON pointers into it; empty when it can be rated. Amounts may
 * be 0 but not negative; tiers ascend from above 0, and the last one alone is open.
 */
export function checkPrice(price: Price): ProblemError[] {
  if (price.model === 'flat') return checkAmount('/amount', price.amount)
  if (price.model === 'per_unit') return checkAmount('/unit_amount', price.unit_amount)
  return checkTiers(price.tiers)
}

function checkTiers(tiers: readonly Tier[]): ProblemError[] {
  if (tiers.length === 0) return [{ path: '/tiers', message: 'A graduated price needs at least one tier.' }]
  const errors: ProblemError[] = []
  let lower = parseQuantity('0')
  for (const [index, tier] of tiers.entries()) {
    const path = `/tiers/${index}`
    errors.push(...checkAmount(`${path}/unit_amount`, tier.unit_amount))
    if (tier.flat_amount !== undefined) errors.push(...checkAmount(`${path}/flat_amount`, tier.flat_amount))
    const upper = checkUpTo(`${path}/up_to`, tier.up_to, lower, index === tiers.length - 1)
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

function checkAmount(path: string, amount: string): ProblemError[] {
  if (!isQuantityText(amount)) return [notDecimal(path)]
  return parseQuantity(amount).isNegative() ? [{ path, message: 'A price must not be negative.' }] : []
}

function notDecimal(path: string): ProblemError {
  return { path, message: 'This must be a decimal with at most 26 digits before and 12 after the point.' }
}
