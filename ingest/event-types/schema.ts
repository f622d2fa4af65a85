import type { JsonObject, JsonValue } from './json.ts'

/** How large a registered schema may be. Text in bytes; depth counts records, arrays and maps. */
export const SCHEMA_LIMITS = { textBytes: 65_536, fields: 64, depth: 8, branches: 64, nameLength: 256 } as const

export const PRIMITIVES = ['null', 'boolean', 'int', 'long', 'float', 'double', 'string'] as const
export type Primitive = (typeof PRIMITIVES)[number]

export type PrimitiveSchema = { kind: Primitive; logicalType?: string }
/** Avro bytes with the logical type decimal; in our JSON a decimal string. */
export type DecimalSchema = { kind: 'decimal'; precision: number; scale: number }
export type Field = {
  name: string
  type: Schema
  aliases: string[]
  doc?: string
  /** In a box, since null is a default too; `path` is its place in the schema's JSON. */
  fallback?: { value: JsonValue; path: string }
}
/** `name` and `aliases` are full names. Named types are shared, so a recursive schema is a cyclic graph. */
export type RecordSchema = { kind: 'record'; name: string; aliases: string[]; doc?: string; fields: Field[] }
export type EnumSchema = {
  kind: 'enum'
  name: string
  aliases: string[]
  doc?: string
  symbols: string[]
  /** What a reader takes for a symbol it does not know. */
  otherwise?: string
}
export type NamedSchema = RecordSchema | EnumSchema
export type UnionSchema = { kind: 'union'; branches: Schema[] }
export type Schema =
  | PrimitiveSchema
  | DecimalSchema
  | NamedSchema
  | UnionSchema
  | { kind: 'array'; items: Schema }
  | { kind: 'map'; values: Schema }

export function simpleName(fullName: string): string {
  return fullName.slice(fullName.lastIndexOf('.') + 1)
}

export function namespaceOf(fullName: string): string {
  return fullName.slice(0, Math.max(0, fullName.lastIndexOf('.')))
}

/** A few words for messages, such as `array` or `record Tokens`. */
export function describe(schema: Schema): string {
  if (schema.kind === 'record' || schema.kind === 'enum') return `${schema.kind} ${schema.name}`
  if (schema.kind === 'decimal') return `decimal(${schema.precision}, ${schema.scale})`
  return schema.kind === 'union' ? `union of ${schema.branches.map(describe).join(', ')}` : schema.kind
}

/** The schema as JSON to store: one spelling of everything, unknown attributes left out. */
export function schemaJson(schema: RecordSchema): JsonObject {
  return namedJson(schema, '', new Set())
}

function toJson(schema: Schema, namespace: string, written: Set<string>): JsonValue {
  switch (schema.kind) {
    case 'record':
    case 'enum':
      return written.has(schema.name) ? schema.name : namedJson(schema, namespace, written)
    case 'array':
      return { type: 'array', items: toJson(schema.items, namespace, written) }
    case 'map':
      return { type: 'map', values: toJson(schema.values, namespace, written) }
    case 'union':
      return schema.branches.map((branch) => toJson(branch, namespace, written))
    case 'decimal':
      return { type: 'bytes', logicalType: 'decimal', precision: schema.precision, scale: schema.scale }
    default:
      return schema.logicalType === undefined ? schema.kind : { type: schema.kind, logicalType: schema.logicalType }
  }
}

function namedJson(schema: NamedSchema, enclosing: string, written: Set<string>): JsonObject {
  written.add(schema.name)
  const namespace = namespaceOf(schema.name)
  return {
    type: schema.kind,
    name: schema.name,
    // A name without dots would otherwise be read as one of the enclosing namespace.
    ...(namespace === '' && enclosing !== '' ? { namespace: '' } : {}),
    ...notes(schema),
    ...(schema.kind === 'enum'
      ? { symbols: schema.symbols, ...(schema.otherwise === undefined ? {} : { default: schema.otherwise }) }
      : { fields: schema.fields.map((field) => fieldJson(field, namespace, written)) }),
  }
}

function fieldJson(field: Field, namespace: string, written: Set<string>): JsonObject {
  return {
    name: field.name,
    ...notes(field),
    type: toJson(field.type, namespace, written),
    ...(field.fallback === undefined ? {} : { default: field.fallback.value }),
  }
}

function notes(of: { doc?: string; aliases: string[] }): JsonObject {
  return {
    ...(of.doc === undefined ? {} : { doc: of.doc }),
    ...(of.aliases.length === 0 ? {} : { aliases: of.aliases }),
  }
}
