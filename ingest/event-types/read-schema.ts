import { isObject, isWellFormed, type JsonValue, longerThan } from './json.ts'
import { qualify, readAliases, readFullName, readSimpleName } from './names.ts'
import { collectErrors, invalidSchema, type Report } from './problems.ts'
import { readDecimal } from './read-decimal.ts'
import {
  describe,
  type EnumSchema,
  type Field,
  type NamedSchema,
  namespaceOf,
  PRIMITIVES,
  type Primitive,
  type RecordSchema,
  SCHEMA_LIMITS,
  type Schema,
} from './schema.ts'

type Walk = { report: Report; named: Map<string, NamedSchema> }
type Place = { path: string; namespace: string; depth: number }
type Raw = Record<string, unknown>

/** JSON may nest deeper than types do: through defaults and wrapped types. */
const MOST_JSON_LEVELS = 64
const PRIMITIVE_NAMES: ReadonlySet<string> = new Set(PRIMITIVES)
const KINDS_NEEDING_MORE: ReadonlySet<string> = new Set(['record', 'enum', 'array', 'map'])
const UNSUPPORTED: Readonly<Record<string, string>> = {
  bytes: 'JSON has no bytes; use string, or bytes with logicalType decimal',
  fixed: 'fixed is not supported; use string, or bytes with logicalType decimal',
}

/**
 * Reads an Avro record schema from parsed JSON. Defaults are kept as given, not yet checked against their types.
 * Throws Problem invalid_schema with the places of what is wrong.
 */
export function readSchema(raw: unknown): RecordSchema {
  const { report, errors } = collectErrors()
  let schema: Schema | undefined
  if (isBounded(raw, report)) {
    schema = readType(raw, { path: '', namespace: '', depth: 1 }, { report, named: new Map() })
    if (schema && schema.kind !== 'record') report('', `must be a record, not ${describe(schema)}`)
  }
  if (errors.length > 0 || schema?.kind !== 'record') throw invalidSchema(errors)
  return schema
}

/** Stops at the limits, so that the walk and JSON.stringify are safe on what is left. */
function isBounded(raw: unknown, report: Report): raw is JsonValue {
  const tooLarge = `is larger than ${SCHEMA_LIMITS.textBytes} bytes`
  let characters = 0
  const fault = (value: unknown, level: number): string | undefined => {
    characters += typeof value === 'string' ? value.length + 2 : 1
    if (characters > SCHEMA_LIMITS.textBytes) return tooLarge
    if (level > MOST_JSON_LEVELS) return `nests deeper than ${MOST_JSON_LEVELS} levels of JSON`
    if (typeof value === 'string' && (value.includes('\0') || !isWellFormed(value))) {
      return 'contains text with NUL or half a surrogate pair'
    }
    if (typeof value !== 'object' || value === null) return undefined
    // No Object.entries: it would copy a list of any length before the first limit stops it.
    for (const key in value) {
      const member: unknown = (value as Raw)[key]
      const found = (Array.isArray(value) ? undefined : fault(key, level)) ?? fault(member, level + 1)
      if (found) return found
    }
    return undefined
  }
  const message =
    fault(raw, 0) ?? (longerThan(SCHEMA_LIMITS.textBytes, JSON.stringify(raw) ?? '') ? tooLarge : undefined)
  if (message) report('', message)
  return message === undefined
}

function readType(raw: unknown, place: Place, walk: Walk): Schema | undefined {
  if (typeof raw === 'string') return readNamedOrPrimitive(raw, place, walk)
  if (Array.isArray(raw)) return readUnion(raw, place, walk)
  if (!isObject(raw)) {
    walk.report(place.path, 'must be a type: a name, an object with "type", or a list for a union')
    return undefined
  }
  const { type } = raw
  if (type === 'record' || type === 'array' || type === 'map') return readNested(raw, type, place, walk)
  if (type === 'enum') return readEnum(raw, place, walk)
  if (type === 'bytes' && raw.logicalType !== undefined) return readDecimal(raw, place.path, walk.report)
  const inner = readType(type, { ...place, path: `${place.path}.type` }, walk)
  if (inner && type === inner.kind && typeof raw.logicalType === 'string') {
    return { kind: inner.kind as Primitive, logicalType: raw.logicalType }
  }
  return inner
}

function readNamedOrPrimitive(name: string, place: Place, walk: Walk): Schema | undefined {
  if (PRIMITIVE_NAMES.has(name)) return { kind: name as Primitive }
  const known = walk.named.get(qualify(name, place.namespace))
  if (known) return known
  const short = name.slice(0, 80)
  const message = Object.hasOwn(UNSUPPORTED, name)
    ? UNSUPPORTED[name]
    : KINDS_NEEDING_MORE.has(name)
      ? `needs an object: {"type": "${name}", …}`
      : `names the unknown type ${short}; a named type must be defined before it is used`
  walk.report(place.path, message ?? short)
  return undefined
}

function readUnion(raw: unknown[], place: Place, walk: Walk): Schema | undefined {
  if (raw.length === 0 || raw.length > SCHEMA_LIMITS.branches) {
    walk.report(place.path, `must have 1 to ${SCHEMA_LIMITS.branches} branches`)
    return undefined
  }
  const branches: Schema[] = []
  const seen = new Set<string>()
  for (const [index, item] of raw.entries()) {
    const path = `${place.path}[${index}]`
    const branch = readType(item, { ...place, path }, walk)
    if (!branch) continue
    const identity = branch.kind === 'record' || branch.kind === 'enum' ? `named ${branch.name}` : branch.kind
    if (branch.kind === 'union') walk.report(path, 'must not be a union inside a union; list its branches instead')
    else if (seen.has(identity)) walk.report(path, `repeats the type ${identity}; a union has each type once`)
    seen.add(identity)
    branches.push(branch)
  }
  return { kind: 'union', branches }
}

function readNested(raw: Raw, type: 'record' | 'array' | 'map', place: Place, walk: Walk): Schema | undefined {
  if (place.depth > SCHEMA_LIMITS.depth) {
    walk.report(place.path, `nests deeper than ${SCHEMA_LIMITS.depth} levels of records, arrays and maps`)
    return undefined
  }
  const below = { ...place, depth: place.depth + 1 }
  if (type === 'record') return readRecord(raw, below, walk)
  const part = type === 'array' ? 'items' : 'values'
  const inner = readType(raw[part], { ...below, path: `${place.path}.${part}` }, walk)
  if (!inner) return undefined
  return type === 'array' ? { kind: 'array', items: inner } : { kind: 'map', values: inner }
}

function readRecord(raw: Raw, place: Place, walk: Walk): Schema | undefined {
  const name = define(raw, place, walk)
  if (name === undefined) return undefined
  const namespace = namespaceOf(name)
  const aliases = readAliases(raw.aliases, namespace, `${place.path}.aliases`, walk.report)
  const record: RecordSchema = { kind: 'record', name, aliases, ...docOf(raw), fields: [] }
  walk.named.set(name, record)
  const { fields } = raw
  if (!Array.isArray(fields) || fields.length > SCHEMA_LIMITS.fields) {
    walk.report(`${place.path}.fields`, `must be a list of at most ${SCHEMA_LIMITS.fields} fields`)
    return record
  }
  const seen = new Set<string>()
  for (const [index, item] of fields.entries()) {
    const path = `${place.path}.fields[${index}]`
    const field = readField(item, { ...place, namespace, path }, walk)
    if (!field) continue
    if (seen.has(field.name)) walk.report(`${path}.name`, `repeats the field ${field.name}`)
    seen.add(field.name)
    record.fields.push(field)
  }
  return record
}

function readField(raw: unknown, place: Place, walk: Walk): Field | undefined {
  if (!isObject(raw)) {
    walk.report(place.path, 'must be a field: {"name": …, "type": …}')
    return undefined
  }
  const name = readSimpleName(raw.name, `${place.path}.name`, walk.report)
  const type = readType(raw.type, { ...place, path: `${place.path}.type` }, walk)
  const aliases = readAliases(raw.aliases, undefined, `${place.path}.aliases`, walk.report)
  if (name === undefined || type === undefined) return undefined
  const path = `${place.path}.default`
  const fallback = Object.hasOwn(raw, 'default') ? { fallback: { value: raw.default as JsonValue, path } } : {}
  return { name, type, aliases, ...docOf(raw), ...fallback }
}

function readEnum(raw: Raw, place: Place, walk: Walk): Schema | undefined {
  const name = define(raw, place, walk)
  if (name === undefined) return undefined
  const aliases = readAliases(raw.aliases, namespaceOf(name), `${place.path}.aliases`, walk.report)
  const schema: EnumSchema = { kind: 'enum', name, aliases, ...docOf(raw), symbols: [] }
  walk.named.set(name, schema)
  if (!Array.isArray(raw.symbols) || raw.symbols.length === 0) {
    walk.report(`${place.path}.symbols`, 'must be a list of at least one symbol')
    return schema
  }
  const seen = new Set<string>()
  for (const [index, item] of raw.symbols.entries()) {
    const path = `${place.path}.symbols[${index}]`
    const symbol = readSimpleName(item, path, walk.report)
    if (symbol === undefined) continue
    if (seen.has(symbol)) walk.report(path, `repeats the symbol ${symbol}`)
    seen.add(symbol)
    schema.symbols.push(symbol)
  }
  if (typeof raw.default === 'string' && seen.has(raw.default)) schema.otherwise = raw.default
  else if (raw.default !== undefined) walk.report(`${place.path}.default`, 'must be one of the symbols')
  return schema
}

function define(raw: Raw, place: Place, walk: Walk): string | undefined {
  const name = readFullName(raw, place.namespace, place.path, walk.report)
  if (name === undefined || !walk.named.has(name)) return name
  walk.report(`${place.path}.name`, `defines ${name} a second time; refer to it by its name instead`)
  return undefined
}

function docOf(raw: Raw): { doc?: string } {
  return typeof raw.doc === 'string' ? { doc: raw.doc } : {}
}
