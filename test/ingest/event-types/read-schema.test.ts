import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileEventType } from '../../../ingest/event-types/avro-schema.ts'
import type { Problem } from '../../../schemas/http/problem.ts'

type Json = Record<string, unknown>

function record(...fields: unknown[]): Json {
  return { type: 'record', name: 'Data', fields }
}

function errorsOf(schema: unknown): { path: string; message: string }[] {
  try {
    compileEventType(schema)
  } catch (error) {
    const problem = error as Problem
    expect(problem.code).toBe('invalid_schema')
    return problem.options.errors ?? []
  }
  return []
}

function placesOf(schema: unknown): string[] {
  return errorsOf(schema).map((error) => error.path)
}

describe('schemas', () => {
  test('are stored in one spelling, without unknown attributes', () => {
    const schema = {
      type: 'record',
      name: 'Data',
      namespace: 'a.b',
      doc: 'Why',
      surprise: { deep: [1] },
      fields: [
        { name: 'n', type: { type: { type: 'long' } }, order: 'ascending', doc: 'Count', aliases: ['m'] },
        { name: 'e', type: { type: 'enum', name: 'E', namespace: '', symbols: ['A'], aliases: ['c.F'] } },
        { name: 'r', type: ['null', { type: 'Data' }], default: null },
        { name: 't', type: { type: 'long', logicalType: 'timestamp-millis', extra: 1 } },
      ],
    }
    const stored = compileEventType(schema).schema
    expect(stored).toEqual({
      type: 'record',
      name: 'a.b.Data',
      doc: 'Why',
      fields: [
        { name: 'n', doc: 'Count', aliases: ['m'], type: 'long' },
        { name: 'e', type: { type: 'enum', name: 'E', namespace: '', aliases: ['c.F'], symbols: ['A'] } },
        { name: 'r', type: ['null', 'a.b.Data'], default: null },
        { name: 't', type: { type: 'long', logicalType: 'timestamp-millis' } },
      ],
    })
    expect(compileEventType(stored).schema).toEqual(stored)
  })
  test('must be a record at the top', () => {
    for (const schema of ['string', ['null', 'string'], { type: 'map', values: 'int' }, { type: 'string' }]) {
      expect(errorsOf(schema)).toEqual([{ path: '', message: expect.stringContaining('must be a record') }])
    }
    for (const schema of [null, undefined, 5, [], {}, true]) expect(errorsOf(schema).length).toBeGreaterThan(0)
  })
  test('are refused with the place of every fault at once', () => {
    const schema = record(
      { name: 'a', type: 'strng' },
      { name: '1b', type: 'int' },
      { name: 'c', type: { type: 'array', items: ['int', ['null']] } },
      { name: 'd', type: 'int' },
      { name: 'd', type: 'int' },
      { name: 'e' },
      'f',
    )
    expect(placesOf(schema)).toEqual([
      'fields[0].type',
      'fields[1].name',
      'fields[2].type.items[1]',
      'fields[4].name',
      'fields[5].type',
      'fields[6]',
    ])
  })
  const faults: [string, unknown, string][] = [
    ['bytes', 'bytes', 'fields[0].type'],
    ['bytes with another logical type', { type: 'bytes', logicalType: 'x' }, 'fields[0].type.logicalType'],
    ['fixed', { type: 'fixed', name: 'F', size: 4 }, 'fields[0].type.type'],
    ['a bare record', 'record', 'fields[0].type'],
    ['an enum without symbols', { type: 'enum', name: 'E', symbols: [] }, 'fields[0].type.symbols'],
    ['an enum with a symbol twice', { type: 'enum', name: 'E', symbols: ['A', 'A'] }, 'fields[0].type.symbols[1]'],
    ['an enum with a bad symbol', { type: 'enum', name: 'E', symbols: ['a-b'] }, 'fields[0].type.symbols[0]'],
    [
      'an enum whose default is no symbol',
      { type: 'enum', name: 'E', symbols: ['A'], default: 'B' },
      'fields[0].type.default',
    ],
    ['an array without items', { type: 'array' }, 'fields[0].type.items'],
    ['a map of nothing known', { type: 'map', values: 'X' }, 'fields[0].type.values'],
    ['a record without fields', { type: 'record', name: 'R' }, 'fields[0].type.fields'],
    ['a record without a name', { type: 'record', fields: [] }, 'fields[0].type.name'],
    ['a record with the name of a type', { type: 'record', name: 'int', fields: [] }, 'fields[0].type.name'],
    ['a name used twice', { type: 'enum', name: 'Data', symbols: ['A'] }, 'fields[0].type.name'],
    ['a bad namespace', { type: 'enum', name: 'E', namespace: 'a..b', symbols: ['A'] }, 'fields[0].type.namespace'],
    ['bad aliases', { type: 'enum', name: 'E', aliases: ['-'], symbols: ['A'] }, 'fields[0].type.aliases'],
    ['an empty union', [], 'fields[0].type'],
    ['a union with a type twice', ['int', 'null', 'int'], 'fields[0].type[2]'],
    ['a decimal without precision', { type: 'bytes', logicalType: 'decimal' }, 'fields[0].type.precision'],
    [
      'a decimal of scale 13',
      { type: 'bytes', logicalType: 'decimal', precision: 20, scale: 13 },
      'fields[0].type.scale',
    ],
    ['a decimal of 27 digits', { type: 'bytes', logicalType: 'decimal', precision: 27 }, 'fields[0].type.precision'],
    ['text that JSON columns refuse', { type: 'string', doc: '\0' }, ''],
  ]
  test.each(faults)('are refused for %s', (_, type, place) => {
    expect(placesOf(record({ name: 'x', type }))).toEqual([place])
  })
  test('have defaults that fit', () => {
    const fitting: [unknown, unknown][] = [
      ['int', 5],
      [['null', 'int'], 5],
      [{ type: 'map', values: 'int' }, { a: 1 }],
      [{ type: 'enum', name: 'E', symbols: ['A'] }, 'A'],
      [{ type: 'bytes', logicalType: 'decimal', precision: 4, scale: 2 }, '0.50'],
      [{ type: 'record', name: 'R', fields: [{ name: 'a', type: 'int', default: 1 }] }, {}],
    ]
    for (const [type, value] of fitting) expect(placesOf(record({ name: 'x', type, default: value }))).toEqual([])
    const wrong: [unknown, unknown][] = [
      ['int', '5'],
      ['int', null],
      ['long', 2 ** 53],
      ['double', Number('1e400')],
      [['null', 'int'], 'a'],
      [{ type: 'record', name: 'R', fields: [{ name: 'a', type: 'int' }] }, {}],
      [{ type: 'bytes', logicalType: 'decimal', precision: 4, scale: 2 }, '\u0001'],
    ]
    for (const [type, value] of wrong) {
      expect(placesOf(record({ name: 'x', type, default: value }))).toEqual(['fields[0].default'])
    }
  })
  test('with a default that needs itself are refused', () => {
    expect(placesOf(record({ name: 'a', type: 'Data', default: {} }))).toEqual(['fields[0].default'])
  })
  test('with defaults that grow with every level are refused and not built', () => {
    const fields = (type: unknown) =>
      ['a', 'b', 'c', 'd'].map((name, index) => ({ name, type: index ? 'L' : type, default: {} }))
    let schema: Json = {
      type: 'record',
      name: 'L0',
      fields: [{ name: 's', type: 'string', default: 'x'.repeat(1000) }],
    }
    for (let level = 1; level < 8; level++) {
      const below = schema.name as string
      schema = { type: 'record', name: `L${level}`, fields: fields(schema) }
      for (const field of (schema.fields as Json[]).slice(1)) field.type = below
    }
    expect(errorsOf(schema)[0]?.message).toMatch(/larger than 262144 bytes/)
  })
  test('have at most 64 fields a record and 8 levels', () => {
    const fields = (count: number) => Array.from({ length: count }, (_, index) => ({ name: `f${index}`, type: 'int' }))
    expect(placesOf(record(...fields(64)))).toEqual([])
    expect(placesOf(record(...fields(65)))).toEqual(['fields'])
    const arrays = (levels: number): unknown => (levels === 0 ? 'int' : { type: 'array', items: arrays(levels - 1) })
    expect(placesOf(record({ name: 'x', type: arrays(7) }))).toEqual([])
    expect(placesOf(record({ name: 'x', type: arrays(8) }))).toHaveLength(1)
  })
  test('are at most 64 KiB of text and cannot exhaust the stack', () => {
    expect(errorsOf({ ...record(), doc: 'a'.repeat(65_000) })).toEqual([])
    expect(errorsOf({ ...record(), doc: 'é'.repeat(33_000) })[0]?.message).toContain('65536 bytes')
    for (const depth of [100, 100_000]) {
      const deep = JSON.parse(`${'['.repeat(depth)}${']'.repeat(depth)}`)
      expect(errorsOf(deep)[0]?.message).toContain('levels of JSON')
      expect(errorsOf({ ...record(), extra: deep })[0]?.message).toContain('levels of JSON')
    }
    expect(errorsOf({ ...record(), fields: new Array(1_000_000).fill('x') })[0]?.message).toContain('65536 bytes')
  })
  test('of any shape end compiled or refused as invalid', () => {
    const words = fc.constantFrom(
      'record',
      'Data',
      'int',
      'array',
      'map',
      'enum',
      'null',
      '__proto__',
      'constructor',
      'bytes',
    )
    const keys = fc.constantFrom(
      'type',
      'name',
      'fields',
      'items',
      'values',
      'default',
      'symbols',
      '__proto__',
      'aliases',
    )
    const { node } = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 5 },
        words,
        fc.jsonValue({ maxDepth: 1 }),
        fc.array(tie('node'), { maxLength: 3 }),
        tie('object'),
      ),
      object: fc.dictionary(keys, tie('node'), { maxKeys: 5 }),
    }))
    fc.assert(
      fc.property(node, (schema) => void errorsOf(schema)),
      { numRuns: 500 },
    )
    fc.assert(
      fc.property(fc.array(node, { maxLength: 3 }), (fields) => void errorsOf(record(...fields))),
      { numRuns: 500 },
    )
  })
})
