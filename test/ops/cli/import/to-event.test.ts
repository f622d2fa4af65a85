import { describe, expect, test } from 'vitest'
import { checkMapping, mappingOfColumns, parseMapping } from '../../../../ops/cli/import/mapping.ts'
import { numberText, type Row } from '../../../../ops/cli/import/row.ts'
import { rowId } from '../../../../ops/cli/import/row-id.ts'
import { rowMapper } from '../../../../ops/cli/import/to-event.ts'

const n = numberText
const MAPPING = {
  id: 'key',
  source: { constant: 'export' },
  type: { constant: 'llm.request' },
  subject: { column: 'customer' },
  time: 'at',
  data: { tokens: { column: 'tokens', type: 'number' }, 'price.paid': { column: 'paid', type: 'boolean' }, model: 'm' },
}
const mapping = (change: object = {}) => parseMapping(JSON.stringify({ ...MAPPING, ...change }))
const row = (cells: Record<string, unknown>): Row => ({ row: 3, cells })
const mapped = (cells: Record<string, unknown>, change: object = {}) =>
  rowMapper(mapping(change), { fileSha256: 'file', ownsSource: false })(row(cells))
const asItIs = (cells: Record<string, unknown>, ownsSource = false) =>
  rowMapper(undefined, { fileSha256: 'file', ownsSource })(row(cells))

describe('a mapped row', () => {
  const cells = {
    key: 'k',
    customer: 'c',
    at: '2025-03-01T00:00:00Z',
    tokens: '007',
    paid: 'TRUE',
    m: 'gpt',
    other: 'x',
  }

  test('becomes an event; columns that are not named stay behind', () => {
    expect(mapped(cells)).toEqual({
      row: 3,
      event: {
        ...{ id: 'k', source: 'export', type: 'llm.request', subject: 'c', time: '2025-03-01T00:00:00Z' },
        data: { tokens: n('007'), price: { paid: true }, model: 'gpt' },
      },
    })
  })

  test('without a value has no attribute, no field, and an id of its own', () => {
    expect(mapped({ ...cells, key: null, tokens: null, customer: undefined })).toEqual({
      row: 3,
      event: {
        id: rowId('file', 3, Date.UTC(2025, 2, 1)),
        ...{ source: 'export', type: 'llm.request', time: '2025-03-01T00:00:00Z' },
        data: { price: { paid: true }, model: 'gpt' },
      },
    })
  })

  test.each([
    [{ tokens: '1,234' }, 'data.tokens', 'the column tokens holds no number: "1,234"'],
    [{ tokens: [n('1')] }, 'data.tokens', 'the column tokens holds no number: '],
    [{ paid: 'yes' }, 'data.price.paid', 'the column paid holds no boolean: "yes"'],
  ])('%j is told, not guessed', (change, path, message) => {
    expect(mapped({ ...cells, ...change })).toMatchObject({
      ...{ row: 3, code: 'invalid_value', path },
      message: expect.stringContaining(message),
    })
  })

  test.each([
    ['2025-03-01 10:00:00', undefined, '2025-03-01T10:00:00Z'],
    ['2025-03-01T10:00:00.123456', undefined, '2025-03-01T10:00:00.123456Z'],
    ['2025-03-01T10:00:00+01:00', undefined, '2025-03-01T10:00:00+01:00'],
    ['1740823200', 's', '2025-03-01T10:00:00.000Z'],
    ['1740823200.5', 's', '2025-03-01T10:00:00.500Z'],
    [n('1740823200123'), 'ms', '2025-03-01T10:00:00.123Z'],
    ['yesterday', undefined, 'yesterday'],
    ['yesterday', 's', 'yesterday'],
    ['1e300', 's', '1e300'],
  ])('the time %s in %s is %s', (at, unit, time) => {
    expect(mapped({ ...cells, at }, unit ? { time: { column: 'at', unit } } : {})).toMatchObject({ event: { time } })
  })

  test('a column may be a path into a row that nests; a column of that very name comes first', () => {
    expect(mapped({ a: { b: n('5') } }, { subject: 'a.b' })).toMatchObject({ event: { subject: '5' } })
    expect(mapped({ 'a.b': 'x', a: { b: 'y' } }, { subject: 'a.b' })).toMatchObject({ event: { subject: 'x' } })
  })
})

describe('a row without a mapping', () => {
  test('is an event as it is', () => {
    const event = { id: 'k', type: 't', subject: 's', time: '2025-03-01T00:00:00Z', data: { a: n('1') } }
    expect(asItIs({ ...event })).toEqual({ row: 3, event })
  })

  test('may have its data in data.…', () => {
    expect(asItIs({ id: 'k', 'data.a': n('1'), 'data.b.c': 'x' })).toEqual({
      row: 3,
      event: { id: 'k', data: { a: n('1'), b: { c: 'x' } } },
    })
    expect(asItIs({ data: {}, 'data.a': 'x' })).toMatchObject({ path: 'data' })
  })

  test('has no source of its own in a backfill', () => {
    expect(asItIs({ id: 'k', source: 'x' }, true)).toMatchObject({ path: 'source', cells: { id: 'k', source: 'x' } })
    expect(asItIs({ id: 'k' }, true)).toMatchObject({ event: { id: 'k' } })
  })

  test('that is no JSON is told with its text', () => {
    const map = rowMapper(undefined, { fileSha256: 'file', ownsSource: false })
    expect(map({ row: 9, broken: 'no', text: '{' })).toEqual({
      row: 9,
      code: 'invalid_json',
      path: '',
      message: 'no',
      cells: '{',
    })
  })
})

describe('a mapping', () => {
  const columns = ['key', 'customer', 'at', 'tokens', 'paid', 'm'].map((name) => ({ name, type: 'string' as const }))

  test.each([
    ['{', /^The mapping is no JSON/],
    ['{"type":"t","subject":"s"}', /^The mapping is wrong at \//],
    [JSON.stringify({ ...MAPPING, kind: 'x' }), /^The mapping is wrong at \//],
    [JSON.stringify({ ...MAPPING, data: { a: { column: 'a', type: 'int' } } }), /^The mapping is wrong at \/data\/a/],
    [JSON.stringify({ ...MAPPING, time: { column: 'at', unit: 'h' } }), /^The mapping is wrong at \/time/],
  ])('%s is refused', (text, sentence) => expect(() => parseMapping(text)).toThrow(sentence))

  test('names columns that the file has', () => {
    expect(() => checkMapping(mapping(), columns, false)).not.toThrow()
    expect(() => checkMapping(mapping({ subject: 'user' }), columns, false)).toThrow(
      'The mapping names the column user, which the file does not have; it has key, customer, at, tokens, paid, m.',
    )
  })

  test('names a source, unless a backfill has it', () => {
    expect(() => checkMapping(mapping({ source: undefined }), columns, false)).toThrow('has no source')
    expect(() => checkMapping(mapping({ source: undefined }), columns, true)).not.toThrow()
    expect(() => checkMapping(mapping(), columns, true)).toThrow('leave source out')
  })

  test('is that of the columns’ names when there is none', () => {
    const named = (...names: string[]) => names.map((name) => ({ name, type: 'number' as const }))
    expect(mappingOfColumns(named('id', 'type', 'subject', 'data.a.b', 'other'))).toEqual({
      ...{ id: { column: 'id' }, type: { column: 'type' }, subject: { column: 'subject' } },
      data: [{ path: ['a', 'b'], column: 'data.a.b', type: 'number' }],
    })
    expect(() => mappingOfColumns(named('type', 'data.a'))).toThrow('The file has no column subject:')
    expect(() => mappingOfColumns(named('type', 'subject'))).toThrow('The file has no column data.…:')
  })
})
