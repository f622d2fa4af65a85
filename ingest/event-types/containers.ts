import { emptyObject, isObject, isWellFormed, type JsonValue, longerThan } from './json.ts'
import {
  DATA_LIMITS,
  FAILED,
  fail,
  failBelow,
  isTooLarge,
  keyStep,
  type Reader,
  type Reading,
  TOO_LARGE,
} from './reading.ts'

const TOO_DEEP = `is nested deeper than ${DATA_LIMITS.depth} levels`

export function arrayReader(item: Reader): Reader {
  return (value, reading, depth) => {
    if (!Array.isArray(value)) return fail(reading, 'must be an array')
    if (value.length > DATA_LIMITS.items) return fail(reading, `must be an array of at most ${DATA_LIMITS.items} items`)
    if (depth >= DATA_LIMITS.depth) return fail(reading, TOO_DEEP)
    if (isTooLarge(reading, 2 + value.length)) return fail(reading, TOO_LARGE)
    const items: JsonValue[] = []
    for (let index = 0; index < value.length; index++) {
      const read = item(value[index], reading, depth + 1)
      if (read === FAILED) return failBelow(reading, `[${index}]`)
      items.push(read)
    }
    return items
  }
}

/** Keys come out sorted: two maps with the same members are the same text. */
export function mapReader(member: Reader): Reader {
  return (value, reading, depth) => {
    if (!isObject(value)) return fail(reading, 'must be an object')
    const keys = Object.keys(value)
    if (keys.length > DATA_LIMITS.keys) return fail(reading, `must be an object of at most ${DATA_LIMITS.keys} keys`)
    if (depth >= DATA_LIMITS.depth) return fail(reading, TOO_DEEP)
    const members = emptyObject()
    for (const key of keys.sort()) {
      if (longerThan(DATA_LIMITS.keyBytes, key)) {
        fail(reading, `is a key of more than ${DATA_LIMITS.keyBytes} bytes`)
        return failBelow(reading, keyStep(key))
      }
      if (!isWellFormed(key)) return fail(reading, 'has a key with half a surrogate pair; send well-formed Unicode')
      if (isTooLarge(reading, key.length + 4)) return fail(reading, TOO_LARGE)
      const read = member(value[key], reading, depth + 1)
      if (read === FAILED) return failBelow(reading, keyStep(key))
      members[key] = read
    }
    return members
  }
}

/** What a missing field becomes: the checked default, shared by all events and therefore frozen. */
export type Fallback = { value: JsonValue; size: number; exponent: boolean }
export type FieldReader = {
  name: string
  read: Reader
  /** Every object has this name from Object.prototype, so only an own property counts. */
  inherited: boolean
  /** Undefined where the field is required. */
  fallback: ((depth: number) => Fallback | Reading) | undefined
}

/** Fields come out in schema order. The list may still be filled after this call, which recursion needs. */
export function recordReader(fields: readonly FieldReader[]): Reader {
  return (value, reading, depth) => {
    if (!isObject(value)) return fail(reading, 'must be an object')
    if (depth >= DATA_LIMITS.depth) return fail(reading, TOO_DEEP)
    if (isTooLarge(reading, 2)) return fail(reading, TOO_LARGE)
    const record = emptyObject()
    let present = 0
    for (const field of fields) {
      const { name } = field
      const given = field.inherited && !Object.hasOwn(value, name) ? undefined : value[name]
      reading.size += name.length + 4
      if (given !== undefined) present++
      const read = given === undefined ? readMissing(field, reading, depth + 1) : field.read(given, reading, depth + 1)
      if (read === FAILED) return failBelow(reading, keyStep(name))
      record[name] = read
    }
    if (reading.dropUnknown) return record
    const keys = Object.keys(value)
    return keys.length === present ? record : (failUnknown(keys, fields, reading) ?? record)
  }
}

function readMissing(field: FieldReader, reading: Reading, depth: number): JsonValue | typeof FAILED {
  const found = field.fallback?.(depth)
  if (!found) return fail(reading, 'is missing; send it, or register a default for it', 'missing_field')
  if (!('value' in found)) {
    fail(reading, found.message, found.code)
    return failBelow(reading, found.path)
  }
  if (found.exponent) reading.exponent = true
  return isTooLarge(reading, found.size) ? fail(reading, TOO_LARGE) : found.value
}

function failUnknown(keys: string[], fields: readonly FieldReader[], reading: Reading): typeof FAILED | undefined {
  const declared = new Set(fields.map((field) => field.name))
  const unknown = keys.find((key) => !declared.has(key))
  if (unknown === undefined) return undefined
  fail(reading, 'is not declared in the schema; leave it out, or register a schema that has it', 'unknown_field')
  return failBelow(reading, keyStep(unknown))
}
