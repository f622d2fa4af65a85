import fc from 'fast-check'

/** A type without names; `avroOf` names records, enums and fields by their position. */
export type Tree =
  | { kind: 'null' | 'boolean' | 'int' | 'long' | 'float' | 'double' | 'string' }
  | { kind: 'enum'; symbols: number }
  | { kind: 'array' | 'map'; of: Tree }
  | { kind: 'union'; branches: Tree[] }
  | RecordTree
export type RecordTree = { kind: 'record'; fields: { name: string; type: Tree; fallback?: { value: unknown } }[] }

const scalars = fc.constantFrom<Tree['kind']>('null', 'boolean', 'int', 'long', 'float', 'double', 'string')
const scalar = scalars.map((kind) => ({ kind }) as Tree)
const enumeration = fc.integer({ min: 1, max: 3 }).map((symbols): Tree => ({ kind: 'enum', symbols }))

/** Types that nest at most `levels` deep; unions have each kind once. */
export function arbitraryTree(levels: number): fc.Arbitrary<Tree> {
  if (levels === 0) return fc.oneof(scalar, enumeration)
  const inner = arbitraryTree(levels - 1)
  const nested = fc.record({ kind: fc.constantFrom('array' as const, 'map' as const), of: inner })
  const branches = fc.uniqueArray(inner, { minLength: 1, maxLength: 3, selector: (tree) => tree.kind })
  const union = branches
    .filter((trees) => trees.every((tree) => tree.kind !== 'union'))
    .map((trees): Tree => ({ kind: 'union', branches: trees }))
  return fc.oneof(scalar, enumeration, nested, union, arbitraryRecord(levels - 1))
}

export function arbitraryRecord(levels: number): fc.Arbitrary<RecordTree> {
  return fc.array(fc.tuple(arbitraryTree(levels), fc.boolean()), { maxLength: 4 }).chain((parts) =>
    fc.tuple(...parts.map(([type]) => arbitraryValue(type))).map((values) => ({
      kind: 'record' as const,
      fields: parts.map(([type, has], index) => ({
        name: `f${index}`,
        type,
        ...(has ? { fallback: { value: values[index] } } : {}),
      })),
    })),
  )
}

/** Values that the type accepts; fields with a default are sometimes left out. */
export function arbitraryValue(tree: Tree): fc.Arbitrary<unknown> {
  switch (tree.kind) {
    case 'null':
      return fc.constant(null)
    case 'boolean':
      return fc.boolean()
    case 'int':
      return fc.integer()
    case 'long':
      return fc.integer({ min: -999_999_999_999_999, max: 999_999_999_999_999 })
    case 'float':
      return fc.integer().map((value) => value / 8)
    case 'double':
      return fc.double({ noNaN: true, min: -9e18, max: 9e18 }).map((value) => Number(value.toPrecision(15)) + 0)
    case 'string':
      return fc.string({ unit: 'grapheme', maxLength: 8 })
    case 'enum':
      return fc.integer({ min: 0, max: tree.symbols - 1 }).map((index) => `S${index}`)
    case 'array':
      return fc.array(arbitraryValue(tree.of), { maxLength: 3 })
    case 'map':
      return fc
        .array(fc.tuple(fc.string({ maxLength: 4 }), arbitraryValue(tree.of)), { maxLength: 3 })
        .map(Object.fromEntries)
    case 'union':
      return fc.oneof(...tree.branches.map(arbitraryValue))
    case 'record': {
      const required = tree.fields.filter((field) => !field.fallback).map((field) => field.name)
      const model = Object.fromEntries(tree.fields.map((field) => [field.name, arbitraryValue(field.type)]))
      return fc.record(model, { requiredKeys: required, noNullPrototype: true })
    }
  }
}

export function avroOf(tree: Tree, name = 'T'): unknown {
  switch (tree.kind) {
    case 'enum':
      return {
        type: 'enum',
        name: `${name}_e`,
        symbols: Array.from({ length: tree.symbols }, (_, index) => `S${index}`),
      }
    case 'array':
      return { type: 'array', items: avroOf(tree.of, `${name}_i`) }
    case 'map':
      return { type: 'map', values: avroOf(tree.of, `${name}_v`) }
    case 'union':
      return tree.branches.map((branch) => avroOf(branch, name))
    case 'record':
      return {
        type: 'record',
        name,
        fields: tree.fields.map((field) => ({
          name: field.name,
          type: avroOf(field.type, `${name}_${field.name}`),
          ...(field.fallback ? { default: field.fallback.value } : {}),
        })),
      }
    default:
      return tree.kind
  }
}
