import { Decimal } from 'decimal.js'
import { Type } from 'typebox'
import { Problem } from './http/problem.ts'

/**
 * The one place that configures decimal.js; a bare import of it anywhere else is forbidden. Its default of 20 digits
 * drops cents silently. A quantity and a price have up to 26 digits before and 12 after the point, so a product needs
 * 76; the rest is room for sums. Rounding is half-up away from zero, and no text ever has an exponent.
 */
const Exact = Decimal.clone({
  precision: 100,
  rounding: Decimal.ROUND_HALF_UP,
  toExpNeg: -9e15,
  toExpPos: 9e15,
  defaults: true,
})

/** An exact decimal: a quantity, a price, or an unrounded amount in major units. Immutable. */
export type Quantity = Decimal

export const ZERO: Quantity = new Exact(0)

const MAX_DIGITS_BEFORE = 26
const MAX_PLACES = 12
const QUANTITY_PATTERN = `^-?\\d{1,${MAX_DIGITS_BEFORE}}(\\.\\d{1,${MAX_PLACES}})?$`
const QUANTITY = new RegExp(QUANTITY_PATTERN)

/** A quantity or a price on the wire: a decimal text, at most 26 digits before and 12 after the point. */
export const QuantityText = Type.String({
  pattern: QUANTITY_PATTERN,
  maxLength: 40,
  description: 'A decimal as text, at most 26 digits before and 12 after the point.',
  examples: ['2182292', '0.000003'],
})

export function isQuantityText(text: string): boolean {
  return QUANTITY.test(text)
}

/** Whether its text is one of {@link QuantityText}: asked of the digits, without writing them. */
export function isWireQuantity(quantity: Quantity): boolean {
  return quantity.isFinite() && quantity.e < MAX_DIGITS_BEFORE && quantity.decimalPlaces() <= MAX_PLACES
}

/** @throws Problem invalid_request when the text is not of the form of {@link QuantityText}. */
export function parseQuantity(text: string): Quantity {
  if (!QUANTITY.test(text)) {
    throw new Problem(
      'invalid_request',
      `${quoted(text)} is not a decimal with at most 26 digits before and 12 after the point.`,
    )
  }
  return exactOf(text)
}

/**
 * A JSON value as a quantity. A number counts as the double it parses to, if that is finite, not -0, has at most 15
 * significant digits in its shortest form, and fits the digits of {@link QuantityText}.
 * @throws Problem invalid_request otherwise: "send it as a string".
 */
export function quantityFromJson(value: string | number): Quantity {
  if (typeof value === 'string') return parseQuantity(value)
  const quantity = tryQuantityFromJson(value)
  if (quantity === undefined) {
    const shown = Object.is(value, -0) ? '-0' : String(value)
    throw new Problem('invalid_request', `The number ${shown} may not be what was meant: send it as a string.`)
  }
  return quantity
}

/** {@link quantityFromJson} for the hot path: undefined instead of an exception, for values of any type. */
export function tryQuantityFromJson(value: unknown): Quantity | undefined {
  if (typeof value === 'string') return QUANTITY.test(value) ? exactOf(value) : undefined
  if (typeof value !== 'number' || !Number.isFinite(value) || Object.is(value, -0)) return undefined
  const quantity = new Exact(value)
  // decimal.js reads a number through its shortest form, so these are the digits of that form.
  return quantity.precision() <= 15 && QUANTITY.test(quantity.toFixed()) ? quantity : undefined
}

/** The canonical text: no exponent, no trailing zeros, no `-0`. Equal quantities have equal texts. */
export function formatQuantity(quantity: Quantity): string {
  return quantity.toFixed()
}

/** A quantity without the digits beyond so many places, which are cut off. */
export function cutQuantity(quantity: Quantity, places: number): Quantity {
  return quantity.toDecimalPlaces(places, Decimal.ROUND_DOWN)
}

/** A whole number of any size as a quantity. */
export function quantityOfInteger(integer: bigint): Quantity {
  return new Exact(integer.toString())
}

function exactOf(text: string): Quantity {
  const quantity = new Exact(text)
  return quantity.isZero() ? ZERO : quantity
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 60 ? `${text.slice(0, 60)}…` : text)
}

/** A sum of quantities as a store wrote it: plain decimal text, however many digits. Throws calculation_failed. */
export function parseSum(text: string): Quantity {
  if (!/^-?\d+(\.\d+)?$/.test(text)) throw new Problem('calculation_failed', `'${text.slice(0, 60)}' is no decimal.`)
  return new Exact(text)
}
