import { FAILED, fail, type Reader, type Reading } from './reading.ts'
import { describe, type Schema, type UnionSchema } from './schema.ts'

type JsonKind = 'null' | 'boolean' | 'number' | 'string' | 'array' | 'object' | 'none'

/** How often failed branches may repeat the work of reading the whole data once. */
const MOST_REPEATS = 16

/** The first branch in schema order that accepts the value. Only branches that can take its JSON kind are tried. */
export function unionReader(schema: UnionSchema, compile: (schema: Schema) => Reader): Reader {
  const byKind: Record<JsonKind, Reader[]> = {
    null: [],
    boolean: [],
    number: [],
    string: [],
    array: [],
    object: [],
    none: [],
  }
  for (const branch of schema.branches) byKind[kindTaken(branch)].push(compile(branch))
  const expected = schema.branches.map(describe).join(', ').slice(0, 200)
  return (value, reading, depth) => {
    const readers = byKind[kindOf(value)]
    const [only] = readers
    if (only === undefined) return fail(reading, `must be one of: ${expected}`)
    return readers.length === 1 ? only(value, reading, depth) : readFirst(readers, expected, value, reading, depth)
  }
}

/** Where unknown fields are left out, a branch that declares all of them comes before one that would lose some. */
function readFirst(
  readers: readonly Reader[],
  expected: string,
  value: unknown,
  reading: Reading,
  depth: number,
): ReturnType<Reader> {
  if (!reading.dropUnknown) return readInOrder(readers, expected, value, reading, depth)
  reading.dropUnknown = false
  const whole = readInOrder(readers, expected, value, reading, depth)
  reading.dropUnknown = true
  return whole === FAILED ? readInOrder(readers, expected, value, reading, depth) : whole
}

function readInOrder(
  readers: readonly Reader[],
  expected: string,
  value: unknown,
  reading: Reading,
  depth: number,
): ReturnType<Reader> {
  const before = reading.size
  for (const read of readers) {
    const found = read(value, reading, depth)
    if (found !== FAILED) return found
    reading.wasted += reading.size - before + 1
    reading.size = before
    // Nested unions of look-alikes would otherwise double the work at every level.
    if (reading.mostWasted === Number.POSITIVE_INFINITY) {
      reading.mostWasted = MOST_REPEATS * (sizeOf(reading.root, 0) + 64)
    }
    if (reading.wasted > reading.mostWasted) {
      return fail(reading, 'fits too many types of nested unions; give their records fields that tell them apart')
    }
  }
  return fail(reading, `fits none of: ${expected}`)
}

function kindTaken(schema: Schema): JsonKind {
  switch (schema.kind) {
    case 'null':
    case 'boolean':
    case 'string':
    case 'array':
      return schema.kind
    case 'enum':
    case 'decimal':
      return 'string'
    case 'record':
    case 'map':
      return 'object'
    case 'union':
      return 'none'
    default:
      return 'number'
  }
}

function kindOf(value: unknown): JsonKind {
  switch (typeof value) {
    case 'boolean':
    case 'number':
    case 'string':
      return typeof value as JsonKind
    case 'object':
      return value === null ? 'null' : Array.isArray(value) ? 'array' : 'object'
    default:
      return 'none'
  }
}

function sizeOf(value: unknown, depth: number): number {
  if (typeof value === 'string') return value.length + 1
  if (typeof value !== 'object' || value === null || depth > 64) return 1
  let size = 1
  for (const member of Object.values(value)) size += sizeOf(member, depth + 1)
  return size
}
