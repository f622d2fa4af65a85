import { type EventType, validateData } from './avro-schema.ts'
import { arrayReader, mapReader } from './containers.ts'
import { needsExponent } from './json.ts'
import { fail, isTooLarge, type Reader, TOO_LARGE } from './reading.ts'
import { primitiveReaders } from './scalars.ts'

/** ClickHouse reads whole numbers of JSON as 64 bits: a larger one would make it refuse the event's whole data. */
const LARGEST = 2 ** 63

/**
 * The type of events whose schema nobody registered: any JSON object within the bounds of data, keys sorted. Its
 * numbers are what their sender's doubles are; what a meter counts is checked as a quantity all the same.
 */
export const OPEN_TYPE: EventType = {
  schema: { type: 'open' },
  validate: (data) => validateData(readObject, data, false),
}

const readNumber: Reader = (value, reading) => {
  if (typeof value !== 'number' || !(Math.abs(value) < LARGEST)) {
    return fail(reading, 'must be a number within ±2^63; send it as a string')
  }
  if (needsExponent(value)) reading.exponent = true
  return isTooLarge(reading, 1) ? fail(reading, TOO_LARGE) : value
}

const readAny: Reader = (value, reading, depth) => {
  switch (typeof value) {
    case 'string':
      return primitiveReaders.string(value, reading, depth)
    case 'number':
      return readNumber(value, reading, depth)
    case 'boolean':
      return primitiveReaders.boolean(value, reading, depth)
    default:
      if (value === null) return primitiveReaders.null(value, reading, depth)
      return Array.isArray(value) ? readArray(value, reading, depth) : readObject(value, reading, depth)
  }
}
const readArray = arrayReader(readAny)
const readObject = mapReader(readAny)
