import { readSchema } from './read-schema.ts'
import { describe, type EnumSchema, type NamedSchema, type RecordSchema, type Schema, simpleName } from './schema.ts'

/** `path` names the field as data has it (`tokens.count`, `rows[].id`, `tags.*`); empty for the whole. */
export type Incompatibility = { path: string; message: string }

/**
 * Why data written with the old schema cannot be read with the new one, by Avro's schema resolution with the new
 * schema as the reader; empty if it can. Throws Problem invalid_schema if one of them is no schema.
 */
export function incompatibilities(oldSchema: unknown, newSchema: unknown): Incompatibility[] {
  const writer = readSchema(oldSchema)
  const reader = readSchema(newSchema)
  const broken = new Set<string>()
  // Pairs of records are taken as compatible until shown otherwise, which recursion needs. When a pass breaks one,
  // earlier answers may have relied on it: repeat until nothing new breaks.
  for (;;) {
    const before = broken.size
    const found = resolve(writer, reader, '', { broken, pass: new Map() })
    if (broken.size === before) return found.slice(0, MOST_REPORTED)
  }
}

const MOST_REPORTED = 50

/** What a reader accepts beside its own kind. Decimals are decimal strings in our JSON, so strings can read them. */
const PROMOTIONS: Readonly<Record<string, readonly string[]>> = {
  long: ['int'],
  float: ['int', 'long'],
  double: ['int', 'long', 'float'],
  string: ['decimal'],
}

type Run = { broken: Set<string>; pass: Map<string, Incompatibility[]> }

function resolve(writer: Schema, reader: Schema, path: string, run: Run): Incompatibility[] {
  if (writer.kind === 'union') return writer.branches.flatMap((branch) => resolve(branch, reader, path, run))
  if (reader.kind === 'union') return resolveInUnion(writer, reader.branches, path, run)
  if (writer.kind === 'record' && reader.kind === 'record') return resolveRecords(writer, reader, path, run)
  if (writer.kind === 'enum' && reader.kind === 'enum') return resolveEnums(writer, reader, path)
  if (writer.kind === 'array' && reader.kind === 'array') return resolve(writer.items, reader.items, `${path}[]`, run)
  if (writer.kind === 'map' && reader.kind === 'map') return resolve(writer.values, reader.values, join(path, '*'), run)
  if (writer.kind === 'decimal' && reader.kind === 'decimal') {
    if (writer.precision === reader.precision && writer.scale === reader.scale) return []
    return [{ path, message: `changes precision or scale: ${change(writer, reader)}; keep both` }]
  }
  if (writer.kind === reader.kind || PROMOTIONS[reader.kind]?.includes(writer.kind)) return []
  return [{ path, message: `changes its type: ${change(writer, reader)}; keep the old type or add a new field` }]
}

function resolveInUnion(writer: Schema, branches: readonly Schema[], path: string, run: Run): Incompatibility[] {
  let nearest: Incompatibility[] | undefined
  for (const branch of branches) {
    const found = resolve(writer, branch, path, run)
    if (found.length === 0) return []
    if (branch.kind === writer.kind) nearest ??= found
  }
  return nearest ?? [{ path, message: `has no branch for ${describe(writer)}, which the old schema allowed; add one` }]
}

function resolveRecords(writer: RecordSchema, reader: RecordSchema, path: string, run: Run): Incompatibility[] {
  if (!namesMatch(writer, reader)) return [renamed(writer, reader, path)]
  const pair = `${writer.name} ${reader.name}`
  const known = run.pass.get(pair)
  if (known === undefined) run.pass.set(pair, [])
  if (known?.length || (known && run.broken.has(pair))) {
    return [{ path, message: `is a record ${reader.name}, which cannot read the old one` }]
  }
  if (known) return []
  const written = new Map(writer.fields.map((field) => [field.name, field]))
  const found = reader.fields.flatMap((field) => {
    const below = join(path, field.name)
    const names = [field.name, ...field.aliases]
    const old = names.map((name) => written.get(name)).find((match) => match !== undefined)
    if (old) return resolve(old.type, field.type, below, run)
    return field.fallback ? [] : [{ path: below, message: 'is new and has no default; give it one' }]
  })
  run.pass.set(pair, found)
  if (found.length > 0) run.broken.add(pair)
  return found
}

function resolveEnums(writer: EnumSchema, reader: EnumSchema, path: string): Incompatibility[] {
  if (!namesMatch(writer, reader)) return [renamed(writer, reader, path)]
  if (reader.otherwise !== undefined) return []
  const kept = new Set(reader.symbols)
  const gone = writer.symbols.filter((symbol) => !kept.has(symbol))
  if (gone.length === 0) return []
  const some = gone.slice(0, 10).join(', ')
  return [{ path, message: `no longer has ${some}; keep the symbols or give the enum a default` }]
}

/** Unqualified names, as the specification says, or an alias of the new type. */
function namesMatch(writer: NamedSchema, reader: NamedSchema): boolean {
  return simpleName(writer.name) === simpleName(reader.name) || reader.aliases.includes(writer.name)
}

function renamed(writer: NamedSchema, reader: NamedSchema, path: string): Incompatibility {
  return { path, message: `changes its name: ${change(writer, reader)}; keep the name or list the old one in aliases` }
}

function change(writer: Schema, reader: Schema): string {
  return `${describe(writer)} became ${describe(reader)}`
}

function join(path: string, name: string): string {
  return path === '' ? name : `${path}.${name}`
}
