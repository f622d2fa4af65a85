import { arrayReader, type Fallback, type FieldReader, mapReader, recordReader } from './containers.ts'
import { type JsonObject, type JsonValue, longerThan, plainJson } from './json.ts'
import { collectErrors, invalidSchema } from './problems.ts'
import { readSchema } from './read-schema.ts'
import { DATA_LIMITS, FAILED, type Reader, type Reading, type RefusalCode, startReading, TOO_LARGE } from './reading.ts'
import { decimalReader, enumReader, primitiveReaders } from './scalars.ts'
import { type RecordSchema, type Schema, schemaJson } from './schema.ts'
import { unionReader } from './unions.ts'

/** What becomes of fields that the schema does not declare. They are never stored. */
export type UnknownFields = 'refuse' | 'drop'
export type Refusal = { ok: false; code: RefusalCode; path: string; message: string }
export type Validated = { ok: true; json: string; value: JsonObject } | Refusal

/**
 * A registered event type. `schema` is the normalised schema to store. `validate` takes an event's data as plain JSON
 * without Avro's union wrappers, fills in defaults and answers the text to store (declared fields in schema order, map
 * keys sorted, numbers without exponent, at most 256 KiB) and the same as an object, of which defaults are frozen; or
 * why not, with a path that begins with `data`. Fields that are not declared are refused, or left out of the text.
 */
export type EventType = { schema: JsonObject; validate: (data: unknown) => Validated }

/** Compiles an Avro record schema to readers. Throws Problem invalid_schema with the places of what is wrong. */
export function compileEventType(schema: unknown, unknownFields: UnknownFields = 'refuse'): EventType {
  const record = readSchema(schema)
  const { read, defaults } = compileRecord(record)
  checkDefaults(defaults)
  const dropUnknown = unknownFields === 'drop'
  return { schema: schemaJson(record), validate: (data) => validateData(read, data, dropUnknown) }
}

/** Reads an event's data, and writes it as it is stored. */
export function validateData(read: Reader, data: unknown, dropUnknown: boolean): Validated {
  const reading = startReading(data, dropUnknown)
  const value = read(data, reading, 0)
  if (value === FAILED) return { ok: false, code: reading.code, path: `data${reading.path}`, message: reading.message }
  const json = reading.exponent ? plainJson(value) : JSON.stringify(value)
  if (longerThan(DATA_LIMITS.jsonBytes, json))
    return { ok: false, code: 'invalid_value', path: 'data', message: TOO_LARGE }
  return { ok: true, json, value: value as JsonObject }
}

type Default = { path: string; resolve: (depth: number) => Fallback | Reading }
type Compiler = { records: Map<RecordSchema, Reader>; defaults: Default[] }

function compileRecord(record: RecordSchema): { read: Reader; defaults: Default[] } {
  const compiler: Compiler = { records: new Map(), defaults: [] }
  return { read: compile(record, compiler), defaults: compiler.defaults }
}

function compile(schema: Schema, compiler: Compiler): Reader {
  switch (schema.kind) {
    case 'record':
      return compiler.records.get(schema) ?? compileFields(schema, compiler)
    case 'enum':
      return enumReader(schema)
    case 'decimal':
      return decimalReader(schema)
    case 'array':
      return arrayReader(compile(schema.items, compiler))
    case 'map':
      return mapReader(compile(schema.values, compiler))
    case 'union':
      return unionReader(schema, (branch) => compile(branch, compiler))
    default:
      return primitiveReaders[schema.kind]
  }
}

function compileFields(schema: RecordSchema, compiler: Compiler): Reader {
  const fields: FieldReader[] = []
  const reader = recordReader(fields)
  // Known before its fields are compiled, since they may refer to it.
  compiler.records.set(schema, reader)
  for (const field of schema.fields) {
    const read = compile(field.type, compiler)
    const fallback = field.fallback && resolver(field.fallback.value, read)
    if (field.fallback && fallback) compiler.defaults.push({ path: field.fallback.path, resolve: fallback })
    fields.push({ name: field.name, read, inherited: field.name in Object.prototype, fallback })
  }
  return reader
}

/** Checks a default at its first use and keeps the outcome. One that needs itself ends at the depth limit. */
function resolver(given: JsonValue, read: Reader): (depth: number) => Fallback | Reading {
  let known: Fallback | Reading | undefined
  return (depth) => {
    if (known) return known
    const reading = startReading(given)
    const value = read(given, reading, depth)
    known = value === FAILED ? reading : { value: freeze(value), size: reading.size, exponent: reading.exponent }
    return known
  }
}

/** Every default is used once here, so that events never meet a bad one. */
function checkDefaults(defaults: Default[]): void {
  const { report, errors } = collectErrors()
  for (const { path, resolve } of defaults) {
    const found = resolve(0)
    if ('value' in found) continue
    const where = found.path === '' ? 'it' : found.path.replace(/^\./, '')
    report(path, `does not fit the field's type: ${where} ${found.message}`)
  }
  if (errors.length > 0) throw invalidSchema(errors)
}

function freeze<T extends JsonValue>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  Object.freeze(value)
  for (const member of Object.values(value)) freeze(member)
  return value
}
