import { isWellFormed, longerThan, needsExponent } from './json.ts'
import { DATA_LIMITS, type FAILED, fail, isTooLarge, type Reader, type Reading, TOO_LARGE } from './reading.ts'
import type { DecimalSchema, EnumSchema, Primitive } from './schema.ts'

const AS_STRING = 'send it as a string, in a field that takes strings or decimals'
const LARGEST = 2 ** 63
const DECIMAL = /^-?(\d{1,26})(?:\.(\d{1,12}))?$/
const NEGATIVE_ZERO = /^-[0.]+$/

/** Readers of the types without parts; null, booleans and numbers as JSON has them. */
export const primitiveReaders: Readonly<Record<Primitive, Reader>> = {
  null: (value, reading) => (value === null ? accept(reading, null, 4) : fail(reading, 'must be null')),
  boolean: (value, reading) =>
    typeof value === 'boolean' ? accept(reading, value, 4) : fail(reading, 'must be true or false'),
  int: (value, reading) => {
    if (typeof value !== 'number') return fail(reading, 'must be a whole number')
    if ((value | 0) !== value) return fail(reading, 'must be a whole number from -2147483648 to 2147483647')
    return Object.is(value, -0) ? failExact(reading, value) : accept(reading, value, 1)
  },
  long: (value, reading) => {
    if (typeof value !== 'number') return fail(reading, 'must be a whole number')
    if (!Number.isSafeInteger(value)) {
      return fail(reading, `must be a whole number up to ±${Number.MAX_SAFE_INTEGER}; if it is larger, ${AS_STRING}`)
    }
    return Object.is(value, -0) ? failExact(reading, value) : accept(reading, value, 1)
  },
  float: (value, reading) => {
    if (typeof value === 'number' && Number.isFinite(value) && !Number.isFinite(Math.fround(value))) {
      return fail(reading, 'is out of the range of a float; declare the field as double')
    }
    return readDouble(value, reading)
  },
  double: readDouble,
  string: readString,
}

export function enumReader(schema: EnumSchema): Reader {
  const symbols = new Set(schema.symbols)
  const some = schema.symbols.slice(0, 10).join(', ') + (symbols.size > 10 ? ', …' : '')
  return (value, reading) => {
    if (typeof value !== 'string' || !symbols.has(value)) return fail(reading, `must be one of ${some}`)
    return accept(reading, value, value.length + 2)
  }
}

export function decimalReader({ precision, scale }: DecimalSchema): Reader {
  const whole = precision - scale
  const shape = `a string with at most ${whole} digits before the point and ${scale} after it`
  return (value, reading) => {
    const match = typeof value === 'string' ? DECIMAL.exec(value) : null
    if (typeof value !== 'string' || !match) return fail(reading, `must be a decimal number as ${shape}`)
    // Leading zeros are no digits of the number.
    const [, before = '', after = ''] = match
    if (before.replace(/^0+/, '').length > whole || after.length > scale) return fail(reading, `must be ${shape}`)
    if (NEGATIVE_ZERO.test(value)) return fail(reading, 'must not be negative zero; send "0"')
    return accept(reading, value, value.length + 2)
  }
}

/** Whether a JSON number says what was meant: finite, at most 15 significant digits in its shortest form, not -0. */
export function isExact(value: number): boolean {
  if (Number.isInteger(value) && value > -1e15 && value < 1e15) return !Object.is(value, -0)
  if (!Number.isFinite(value)) return false
  const text = String(value)
  // Longer texts may have few digits, beside a sign, a point, leading or trailing zeros and an exponent.
  return text.length <= 15 || Number(value.toPrecision(15)) === value
}

function readDouble(value: unknown, reading: Reading): number | typeof FAILED {
  if (typeof value !== 'number') return fail(reading, 'must be a number')
  if (!isExact(value)) return failExact(reading, value)
  // ClickHouse reads whole numbers of JSON as 64 bits: a larger one would make it refuse the event's whole data.
  if (Math.abs(value) >= LARGEST) return fail(reading, `is beyond ±2^63; ${AS_STRING}`)
  if (needsExponent(value)) reading.exponent = true
  return accept(reading, value, 1)
}

function readString(value: unknown, reading: Reading): string | typeof FAILED {
  if (typeof value !== 'string') return fail(reading, 'must be a string')
  if (longerThan(DATA_LIMITS.stringBytes, value)) {
    return fail(reading, `must be a string of at most ${DATA_LIMITS.stringBytes} bytes`)
  }
  if (!isWellFormed(value)) return fail(reading, 'must be well-formed Unicode; it contains half a surrogate pair')
  return accept(reading, value, value.length + 2)
}

function failExact(reading: Reading, value: number): typeof FAILED {
  const reason = Object.is(value, -0)
    ? 'is negative zero'
    : Number.isFinite(value)
      ? 'has more than 15 significant digits'
      : 'is not a finite number'
  return fail(reading, `${reason}; ${AS_STRING}`)
}

function accept<T>(reading: Reading, value: T, characters: number): T | typeof FAILED {
  return isTooLarge(reading, characters) ? fail(reading, TOO_LARGE) : value
}
