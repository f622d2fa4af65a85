import type { JsonValue } from './json.ts'

/** How large the data of one event may be: bytes of UTF-8 for text, counts for the rest. */
export const DATA_LIMITS = {
  jsonBytes: 262_144,
  stringBytes: 65_536,
  keyBytes: 256,
  items: 1_000,
  keys: 256,
  depth: 32,
} as const

export type RefusalCode = 'unknown_field' | 'missing_field' | 'invalid_value'

/**
 * The state of checking one event's data. A failure is noted here and its path grows while the readers return, so
 * that accepted events pay nothing for it.
 */
export type Reading = {
  /** The data as a whole, measured only when a union has to be tried twice. */
  readonly root: unknown
  code: RefusalCode
  path: string
  message: string
  /** A lower bound of the characters of JSON accepted so far. */
  size: number
  /** The same for what failed branches of unions had accepted. */
  wasted: number
  mostWasted: number
  /** Some number must be written out, since JavaScript would use an exponent. */
  exponent: boolean
  /** Fields that are not declared are left out instead of refused. */
  dropUnknown: boolean
}

export const FAILED: unique symbol = Symbol('failed')

/** Checks a value and returns it normalised, or notes why not and returns FAILED. */
export type Reader = (value: unknown, reading: Reading, depth: number) => JsonValue | typeof FAILED

export function startReading(root: unknown, dropUnknown = false): Reading {
  return {
    root,
    code: 'invalid_value',
    path: '',
    message: '',
    size: 0,
    wasted: 0,
    mostWasted: Number.POSITIVE_INFINITY,
    exponent: false,
    dropUnknown,
  }
}

export function fail(reading: Reading, message: string, code: RefusalCode = 'invalid_value'): typeof FAILED {
  reading.code = code
  reading.path = ''
  reading.message = message
  return FAILED
}

/** Notes that the failure lies below the given step, such as `.tokens` or `[3]`. */
export function failBelow(reading: Reading, step: string): typeof FAILED {
  reading.path = step + reading.path
  return FAILED
}

/** Counts characters towards the limit of the whole; true when it is passed. Defaults can repeat, so it matters. */
export function isTooLarge(reading: Reading, characters: number): boolean {
  reading.size += characters
  return reading.size > DATA_LIMITS.jsonBytes
}

export const TOO_LARGE = `makes the data larger than ${DATA_LIMITS.jsonBytes} bytes; send less in one event`

/** A step of a path: dotted for plain names, else quoted and cut, since keys come from outside. */
export function keyStep(key: string): string {
  return /^[A-Za-z_]\w{0,63}$/.test(key) ? `.${key}` : `[${JSON.stringify(key.slice(0, 64))}]`
}
