import avsc from 'avsc'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileEventType } from '../../../ingest/event-types/avro-schema.ts'
import { incompatibilities } from '../../../ingest/event-types/compatibility.ts'
import {
  arbitraryRecord,
  arbitraryTree,
  arbitraryValue,
  avroOf,
  type RecordTree,
  type Tree,
} from './arbitrary-schema.ts'

type Json = Record<string, unknown>

function record(fields: unknown[], rest: Json = {}): Json {
  return { type: 'record', name: 'Data', fields, ...rest }
}

function pathsOf(oldSchema: unknown, newSchema: unknown): string[] {
  return incompatibilities(oldSchema, newSchema).map((found) => found.path)
}

/** The places where a field `x` of one type cannot be read as the other. */
function between(oldType: unknown, newType: unknown): string[] {
  return pathsOf(record([{ name: 'x', type: oldType }]), record([{ name: 'x', type: newType }]))
}

const enumOf = (symbols: string[], rest: Json = {}) => ({ type: 'enum', name: 'E', symbols, ...rest })
const inner = (...fields: unknown[]) => ({ type: 'record', name: 'Inner', fields })
const decimal = (precision: number, scale: number) => ({ type: 'bytes', logicalType: 'decimal', precision, scale })

describe('fields', () => {
  const a = { name: 'a', type: 'int' }
  test('may be removed and reordered', () => {
    expect(pathsOf(record([a, { name: 'b', type: 'int' }]), record([a]))).toEqual([])
    expect(pathsOf(record([a, { name: 'b', type: 'int' }]), record([{ name: 'b', type: 'int' }, a]))).toEqual([])
  })
  test('may be added with a default only', () => {
    expect(pathsOf(record([a]), record([a, { name: 'b', type: 'int', default: 0 }]))).toEqual([])
    expect(pathsOf(record([a]), record([a, { name: 'b', type: ['null', 'int'], default: null }]))).toEqual([])
    expect(pathsOf(record([a]), record([a, { name: 'b', type: ['null', 'int'] }]))).toEqual(['b'])
  })
  test('may be renamed with an alias', () => {
    expect(pathsOf(record([a]), record([{ name: 'b', type: 'long', aliases: ['a'] }]))).toEqual([])
    expect(pathsOf(record([a]), record([{ name: 'b', type: 'string', aliases: ['a'] }]))).toEqual(['b'])
  })
  test('are named with their path inside records, arrays and maps', () => {
    const count = (type: string) => inner({ name: 'count', type })
    expect(
      pathsOf(record([{ name: 'tokens', type: count('long') }]), record([{ name: 'tokens', type: count('int') }])),
    ).toEqual(['tokens.count'])
    expect(between({ type: 'array', items: count('long') }, { type: 'array', items: count('int') })).toEqual([
      'x[].count',
    ])
    expect(between({ type: 'map', values: count('long') }, { type: 'map', values: count('int') })).toEqual([
      'x.*.count',
    ])
    expect(between({ type: 'map', values: 'int' }, { type: 'map', values: 'null' })).toEqual(['x.*'])
  })
  test('are all named at once', () => {
    const old = record([a, { name: 'b', type: 'string' }])
    expect(
      pathsOf(
        old,
        record([
          { name: 'a', type: 'null' },
          { name: 'b', type: 'int' },
          { name: 'c', type: 'int' },
        ]),
      ),
    ).toEqual(['a', 'b', 'c'])
  })
  test('come with a message that says what to do', () => {
    const [found] = incompatibilities(record([a]), record([a, { name: 'b', type: 'int' }]))
    expect(found).toEqual({ path: 'b', message: 'is new and has no default; give it one' })
  })
})

describe('scalars', () => {
  const primitives = ['null', 'boolean', 'int', 'long', 'float', 'double', 'string']
  const promoted = ['int long', 'int float', 'int double', 'long float', 'long double', 'float double']
  test('may be promoted as Avro says and not otherwise', () => {
    for (const from of primitives) {
      for (const to of primitives) {
        const allowed = from === to || promoted.includes(`${from} ${to}`)
        expect(between(from, to), `${from} to ${to}`).toEqual(allowed ? [] : ['x'])
      }
    }
  })
  test('logical types other than decimal do not matter', () => {
    expect(between('long', { type: 'long', logicalType: 'timestamp-millis' })).toEqual([])
  })
  test('a decimal keeps its precision and scale, or becomes a string', () => {
    expect(between(decimal(9, 2), decimal(9, 2))).toEqual([])
    expect(between(decimal(9, 2), decimal(10, 2))).toEqual(['x'])
    expect(between(decimal(9, 2), decimal(9, 3))).toEqual(['x'])
    expect(between(decimal(9, 2), 'string')).toEqual([])
    expect(between('string', decimal(9, 2))).toEqual(['x'])
    expect(between('long', decimal(9, 0))).toEqual(['x'])
  })
})

describe('enums', () => {
  test('may grow; may shrink only with a default', () => {
    expect(between(enumOf(['A']), enumOf(['B', 'A']))).toEqual([])
    expect(between(enumOf(['A', 'B']), enumOf(['A']))).toEqual(['x'])
    expect(between(enumOf(['A', 'B']), enumOf(['A'], { default: 'A' }))).toEqual([])
  })
  test('a default of the old one does not help', () => {
    expect(between(enumOf(['A', 'B'], { default: 'B' }), enumOf(['A']))).toEqual(['x'])
  })
  test('are no strings', () => {
    expect(between(enumOf(['A']), 'string')).toEqual(['x'])
    expect(between('string', enumOf(['A']))).toEqual(['x'])
  })
})

describe('names', () => {
  test('must match, without their namespaces or by an alias', () => {
    const old = record([], { namespace: 'a' })
    expect(pathsOf(old, record([], { namespace: 'b' }))).toEqual([])
    expect(pathsOf(old, record([], { name: 'Other' }))).toEqual([''])
    expect(pathsOf(old, record([], { name: 'Other', aliases: ['a.Data'] }))).toEqual([])
    expect(pathsOf(old, record([], { name: 'Other', namespace: 'a', aliases: ['Data'] }))).toEqual([])
    expect(pathsOf(old, record([], { name: 'Other', namespace: 'b', aliases: ['Data'] }))).toEqual([''])
    expect(between(enumOf(['A']), { ...enumOf(['A']), name: 'F' })).toEqual(['x'])
  })
})

describe('unions', () => {
  test('may gain branches and lose none', () => {
    expect(between(['null', 'int'], ['null', 'int', 'string'])).toEqual([])
    expect(between(['null', 'int'], ['int'])).toEqual(['x'])
    expect(between(['null', 'int'], ['string', 'double', 'null'])).toEqual([])
  })
  test('may replace a plain type that one branch reads', () => {
    expect(between('int', ['null', 'int'])).toEqual([])
    expect(between('int', ['null', 'double'])).toEqual([])
    expect(between('int', ['null', 'string'])).toEqual(['x'])
  })
  test('may become a plain type that reads every branch', () => {
    expect(between(['int', 'long'], 'double')).toEqual([])
    expect(between(['int'], 'int')).toEqual([])
    expect(between(['null', 'int'], 'int')).toEqual(['x'])
  })
  test('name the field inside the branch that was meant', () => {
    const branch = (type: string) => ['null', inner({ name: 'count', type })]
    expect(between(branch('long'), branch('int'))).toEqual(['x.count'])
  })
})

describe('recursive types', () => {
  const node = (value: string, rest: unknown[] = []) => ({
    type: 'record',
    name: 'Node',
    fields: [{ name: 'next', type: ['null', 'Node'], default: null }, { name: 'value', type: value }, ...rest],
  })
  test('are compatible with themselves and with promotions', () => {
    expect(pathsOf(node('int'), node('int'))).toEqual([])
    expect(pathsOf(node('int'), node('long'))).toEqual([])
  })
  test('are incompatible where one level is', () => {
    expect(pathsOf(node('long'), node('int'))).toContain('value')
    expect(pathsOf(node('int'), node('int', [{ name: 'extra', type: 'int' }]))).toContain('extra')
  })
  test('a pair taken as compatible on the way is taken back when it is not', () => {
    // While W is compared with P, Q seems to read V. Then P fails, S reads W instead, and Q cannot read V after all.
    const named = (name: string, aliases: string[], ...fields: unknown[]) => ({ type: 'record', name, aliases, fields })
    const v = named('V', [], { name: 'up', type: 'W' })
    const w = named('W', [], { name: 'q', type: ['null', v] }, { name: 'bad', type: 'long' })
    const q = named('Q', ['V'], { name: 'up', type: 'P' })
    const p = named('P', ['W'], { name: 'q', type: ['null', q] }, { name: 'bad', type: 'int' })
    const before = record([
      { name: 'a', type: w },
      { name: 'b', type: 'V' },
    ])
    const after = record([
      { name: 'a', type: [p, named('S', ['W'])] },
      { name: 'b', type: 'Q' },
    ])
    expect(pathsOf(before, after)).toEqual(['b'])
  })
  test('types that refer to each other many times are compared once', () => {
    let type: Json = { type: 'record', name: 'L0', fields: [{ name: 'n', type: 'long' }] }
    for (let level = 1; level < 8; level++) {
      const below = type
      const fields = Array.from({ length: 60 }, (_, index) => ({
        name: `f${index}`,
        type: index === 0 ? below : below.name,
      }))
      type = { type: 'record', name: `L${level}`, fields }
    }
    expect(pathsOf(type, type)).toEqual([])
    const changed = JSON.parse(JSON.stringify(type).replace('"long"', '"int"'))
    expect(pathsOf(type, changed)).toContain('f0.f0.f0.f0.f0.f0.f0.n')
    expect(pathsOf(type, changed).length).toBeLessThanOrEqual(50)
  })
})

describe('in general', () => {
  test('every schema can read itself', () => {
    fc.assert(
      fc.property(arbitraryRecord(3), (tree) => {
        expect(incompatibilities(avroOf(tree), avroOf(tree))).toEqual([])
      }),
    )
  })
  test('the verdict is that of avsc, another implementation of the same rules', () => {
    const verdicts = { compatible: 0, incompatible: 0 }
    const pairs = arbitraryRecord(2).chain((tree) =>
      fc.tuple(fc.constant(tree), fc.oneof(arbitraryRecord(2), evolved(tree))),
    )
    fc.assert(
      fc.property(pairs, ([before, after]) => {
        const found = incompatibilities(avroOf(before), avroOf(after))
        expect(found.length === 0).toBe(avscResolves(before, after))
        verdicts[found.length === 0 ? 'compatible' : 'incompatible']++
      }),
      { numRuns: 1_000 },
    )
    expect(verdicts.compatible).toBeGreaterThan(100)
    expect(verdicts.incompatible).toBeGreaterThan(100)
  })
  test('what the old schema accepted, the new one accepts, but for fields that it no longer has', () => {
    const changes = arbitraryRecord(2).chain((tree) => fc.tuple(fc.constant(tree), evolved(tree), arbitraryValue(tree)))
    let kept = 0
    fc.assert(
      fc.property(changes, ([before, after, value]) => {
        if (incompatibilities(avroOf(before), avroOf(after)).length > 0) return
        kept++
        const written = compileEventType(avroOf(before)).validate(value)
        expect(written.ok).toBe(true)
        if (!written.ok) return
        const names = new Set(after.fields.map((field) => field.name))
        const data = Object.fromEntries(Object.entries(written.value).filter(([name]) => names.has(name)))
        expect(compileEventType(avroOf(after)).validate(data)).toMatchObject({ ok: true })
      }),
      { numRuns: 500 },
    )
    expect(kept).toBeGreaterThan(100)
  })
})

/** The same record with some top-level fields removed, changed, made optional, or added with or without default. */
function evolved(tree: RecordTree): fc.Arbitrary<RecordTree> {
  const wider: Partial<Record<Tree['kind'], Tree>> = {
    int: { kind: 'long' },
    long: { kind: 'double' },
    float: { kind: 'double' },
    enum: { kind: 'enum', symbols: 3 },
  }
  const optional = (type: Tree): Tree =>
    type.kind === 'union' || type.kind === 'null' ? type : { kind: 'union', branches: [{ kind: 'null' }, type] }
  const step = fc.constantFrom('keep', 'keep', 'keep', 'remove', 'widen', 'optional', 'narrow')
  const added = fc.option(arbitraryTree(0).chain((type) => arbitraryValue(type).map((value) => ({ type, value }))))
  return fc
    .tuple(fc.array(step, { minLength: 4, maxLength: 4 }), added, fc.integer({ min: 0, max: 9 }))
    .map(([steps, extra, luck]) => {
      const fields = tree.fields.flatMap(({ name, type }, index): RecordTree['fields'] => {
        const change = steps[index]
        if (change === 'remove') return []
        if (change === 'widen') return [{ name, type: wider[type.kind] ?? type }]
        if (change === 'narrow') return [{ name, type: { kind: 'int' } }]
        return [{ name, type: change === 'optional' ? optional(type) : type }]
      })
      const fallback = extra && luck > 0 ? { fallback: { value: extra.value } } : {}
      return { kind: 'record', fields: extra ? [...fields, { name: 'added', type: extra.type, ...fallback }] : fields }
    })
}

/** avsc checks defaults by older rules, so fields that have one and are new are left out: they say nothing else. */
function avscResolves(before: RecordTree, after: RecordTree): boolean {
  const written = fieldsByRecord(avroOf(before))
  const writer = avsc.Type.forSchema(withoutDefaults(avroOf(before)), { wrapUnions: true })
  const reader = avsc.Type.forSchema(withoutDefaults(avroOf(after), written), { wrapUnions: true })
  try {
    reader.createResolver(writer)
    return true
  } catch {
    return false
  }
}

type RecordJson = { name: string; fields: { name: string; default?: unknown }[] }

function fieldsByRecord(schema: unknown): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>()
  JSON.stringify(schema, (_, member: RecordJson | undefined) => {
    if (member?.fields) found.set(member.name, new Set(member.fields.map((field) => field.name)))
    return member
  })
  return found
}

function withoutDefaults(schema: unknown, written?: Map<string, Set<string>>): avsc.Schema {
  const text = JSON.stringify(schema, (_, member: RecordJson | undefined) => {
    if (!member?.fields) return member
    const before = written?.get(member.name)
    const kept = member.fields.filter((field) => !before || before.has(field.name) || !('default' in field))
    return { ...member, fields: kept.map(({ default: _default, ...field }) => field) }
  })
  return JSON.parse(text)
}
