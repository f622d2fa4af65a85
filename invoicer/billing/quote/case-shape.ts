import { currencyExponent, isCurrency, roundToMinorOfAnySize } from '../../../schemas/money.ts'
import { type Quantity, tryQuantityFromJson } from '../../../schemas/quantity.ts'
import { DECIMAL_FORM } from '../rating/price-shape.ts'
import { badCase } from './bad-case.ts'

/** An object of a case, whose members are known by name and not yet by type. */
export type Members = Readonly<Record<string, unknown>>

/** RFC 3339, and what is written for it: a space for the T, no seconds, a shorter offset or none, a bare date. */
const TIME = /^(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(:\d\d(?:\.\d+)?)?(?:[Zz]|([+-]\d\d)(?::?(\d\d))?)?)?$/
const DAY_MS = 86_400_000
const NO_TIME = 'Send an RFC 3339 time, such as 2026-01-31T12:00:00Z.'

/**
 * An object without members that nobody knows: a misspelt one would be passed over in silence. One that is null counts
 * as left out.
 */
export function membersAt(value: unknown, field: string, known: readonly string[]): Members {
  if (!isObject(value)) throw badCase(field || 'case', missingOr(value, 'This must be an object.'))
  const unknown = Object.keys(value).find((name) => !known.includes(name))
  if (unknown === undefined) return withoutNulls(value)
  throw badCase(memberOf(field, unknown), `There is no such field here; there are ${known.join(', ')}.`)
}

function withoutNulls(value: object): Members {
  if (!Object.values(value).includes(null)) return value as Members
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null))
}

export function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function listAt(value: unknown, field: string): readonly unknown[] {
  if (Array.isArray(value)) return value
  throw badCase(field, missingOr(value, 'This must be a list.'))
}

/** A decimal as text, or a JSON number that can only mean one decimal (billing-rules, Numbers). */
export function decimalAt(value: unknown, field: string): Quantity {
  const quantity = tryQuantityFromJson(value)
  if (quantity !== undefined) return quantity
  if (typeof value === 'number') {
    throw badCase(
      field,
      `The number ${Object.is(value, -0) ? '-0' : value} may not be what was meant: send it as a string.`,
    )
  }
  throw badCase(field, missingOr(value, DECIMAL_FORM))
}

/** An amount in major units, with no more decimals than its currency has. */
export function moneyAt(value: unknown, field: string, currency: string): bigint {
  const amount = decimalAt(value, field)
  const decimals = currencyExponent(currency)
  if (amount.decimalPlaces() <= decimals) return roundToMinorOfAnySize(amount, currency)
  throw badCase(field, `An amount in ${currency} has ${decimals} decimals at most.`)
}

/** In lower case too. */
export function currencyAt(value: unknown, field: string): string {
  const code = typeof value === 'string' && /^[a-z]{3}$/i.test(value) ? value.toUpperCase() : ''
  if (isCurrency(code)) return code
  throw badCase(field, missingOr(value, 'Send an active ISO 4217 currency, such as USD.'))
}

export function booleanAt(value: unknown, field: string): boolean {
  if (typeof value === 'boolean') return value
  throw badCase(field, missingOr(value, 'This must be true or false.'))
}

/** Milliseconds since 1970; finer fractions are cut off. Of UTC without an offset, and its midnight without a time. */
export function instantAt(value: unknown, field: string): number {
  const match = typeof value === 'string' ? TIME.exec(value) : null
  if (match === null) throw badCase(field, missingOr(value, NO_TIME))
  const [, day = '', minute = '00:00', second = ':00', hours = '+00', minutes = '00'] = match
  const midnightMs = Date.parse(`${day}T00:00:00Z`)
  // A day that its month lacks is read as one of the next month, and 24:00 as the next midnight.
  const exists = !Number.isNaN(midnightMs) && new Date(midnightMs).toISOString().startsWith(day)
  const shownMs = Date.parse(`${day}T${minute}${second}Z`)
  const instantMs = Date.parse(`${day}T${minute}${second}${hours}:${minutes}`)
  if (exists && shownMs - midnightMs < DAY_MS && !Number.isNaN(instantMs)) return instantMs
  throw badCase(field, `There is no such time. ${NO_TIME}`)
}

/** The path of a member, as in `events.0.time`. */
export function memberOf(field: string, name: string | number): string {
  return field === '' ? String(name) : `${field}.${name}`
}

function missingOr(value: unknown, message: string): string {
  return value === undefined ? `This is missing. ${message}` : message
}
