import avsc from 'avsc'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileEventType } from '../../../ingest/event-types/avro-schema.ts'
import { arbitraryRecord, arbitraryValue, avroOf } from './arbitrary-schema.ts'

type Json = Record<string, unknown>

function record(...fields: unknown[]): Json {
  return { type: 'record', name: 'Data', fields }
}

/** An event type whose data has one field `x`. */
function typed(type: unknown, rest: Json = {}) {
  return compileEventType(record({ name: 'x', type, ...rest }))
}

function refusalOf(type: unknown, x: unknown): [string, string] | 'accepted' {
  const outcome = typed(type).validate({ x })
  return outcome.ok ? 'accepted' : [outcome.code, outcome.path]
}

function jsonOf(type: unknown, x: unknown): string {
  const outcome = typed(type).validate({ x })
  return outcome.ok ? outcome.json.slice('{"x":'.length, -1) : `${outcome.path} ${outcome.message}`
}

const INVALID = ['invalid_value', 'data.x']

describe('records', () => {
  const usage = compileEventType({
    type: 'record',
    name: 'LlmRequest',
    namespace: 'com.example',
    fields: [
      { name: 'model', type: 'string', default: 'unknown' },
      { name: 'tokens', type: { type: 'record', name: 'Tokens', fields: [{ name: 'count', type: 'long' }] } },
      { name: 'cost', type: ['null', 'double'], default: null },
    ],
  })
  test('fields come out in schema order with defaults filled in', () => {
    const outcome = usage.validate({ cost: 1e-7, tokens: { count: 5 } })
    expect(outcome).toMatchObject({ ok: true, json: '{"model":"unknown","tokens":{"count":5},"cost":0.0000001}' })
    if (outcome.ok) expect(outcome.value).toEqual({ model: 'unknown', tokens: { count: 5 }, cost: 1e-7 })
  })
  test('an undeclared field is refused with its path', () => {
    const outcome = usage.validate({ tokens: { count: 1, extra: 2 } })
    expect(outcome).toMatchObject({ ok: false, code: 'unknown_field', path: 'data.tokens.extra' })
    expect(usage.validate({ tokens: { count: 1 }, ['a "b"'.repeat(100_000)]: 1 })).toMatchObject({
      code: 'unknown_field',
      path: expect.stringMatching(/^data\["a .{1,100}$/),
    })
  })
  test('a missing required field is refused with its path', () => {
    expect(usage.validate({ tokens: {} })).toMatchObject({ code: 'missing_field', path: 'data.tokens.count' })
    expect(usage.validate({})).toMatchObject({ code: 'missing_field', path: 'data.tokens' })
  })
  test('a null is no missing field', () => {
    expect(usage.validate({ model: null, tokens: { count: 1 } })).toMatchObject({
      code: 'invalid_value',
      path: 'data.model',
    })
  })
  test('what is no object is refused', () => {
    for (const data of [null, undefined, [], 'a', 1]) {
      expect(usage.validate(data)).toMatchObject({ code: 'invalid_value', path: 'data' })
    }
  })
  test('an empty record takes only an empty object', () => {
    expect(compileEventType(record()).validate({})).toMatchObject({ ok: true, json: '{}' })
    expect(compileEventType(record()).validate({ a: 1 })).toMatchObject({ code: 'unknown_field', path: 'data.a' })
  })
  test('defaults are shared and cannot be changed', () => {
    const type = typed({ type: 'array', items: 'string' }, { default: ['a'] })
    const outcome = type.validate({})
    expect(outcome.ok && Object.isFrozen(outcome.value.x)).toBe(true)
  })
  test('named types can be referred to, with or without their namespace', () => {
    const tokens = { type: 'record', name: 'Tokens', fields: [{ name: 'n', type: 'int' }] }
    const fields = [
      { name: 'a', type: tokens },
      { name: 'b', type: 'Tokens' },
      { name: 'c', type: 'org.x.Tokens' },
    ]
    const type = compileEventType({ type: 'record', name: 'Data', namespace: 'org.x', fields })
    expect(type.validate({ a: { n: 1 }, b: { n: 2 }, c: { n: 3 } }).ok).toBe(true)
    expect(type.validate({ a: { n: 1 }, b: { n: 2 }, c: {} })).toMatchObject({
      code: 'missing_field',
      path: 'data.c.n',
    })
  })
})

describe('numbers', () => {
  test('int is whole and of 32 bits', () => {
    for (const x of [0, -2147483648, 2147483647]) expect(jsonOf('int', x)).toBe(String(x))
    for (const x of [2147483648, -2147483649, 1.5, Number('1e400'), Number.NaN, -0, '1', null, true, [1]]) {
      expect(refusalOf('int', x)).toEqual(INVALID)
    }
  })
  test('long is whole and exact in a double', () => {
    for (const x of [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]) expect(jsonOf('long', x)).toBe(String(x))
    const large = JSON.parse('[9007199254740993,1e400,9223372036854775808,1e21]')
    for (const x of [...large, 0.5, -0, '1', 2 ** 53]) expect(refusalOf('long', x)).toEqual(INVALID)
  })
  test('logical types of long, int and string are plain values', () => {
    expect(jsonOf({ type: 'long', logicalType: 'timestamp-millis' }, 1_700_000_000_000)).toBe('1700000000000')
    expect(jsonOf({ type: 'long', logicalType: 'timestamp-micros' }, 1_700_000_000_000_001)).toBe('1700000000000001')
    expect(jsonOf({ type: 'string', logicalType: 'uuid' }, 'not checked')).toBe('"not checked"')
  })
  test('a double is finite, not -0, of at most 15 significant digits', () => {
    for (const x of [0.1, -1.5, 0, 123456789012345, 0.000123456789012345, 9.2e18, 5e-324, -9.2e18]) {
      expect(refusalOf('double', x)).toBe('accepted')
    }
    for (const x of [
      Number('1e400'),
      Number('-1e400'),
      Number.NaN,
      -0,
      0.1 + 0.2,
      1 / 3,
      1234567890123456,
      2 ** 53 - 1,
    ]) {
      expect(typed('double').validate({ x })).toMatchObject({
        code: 'invalid_value',
        path: 'data.x',
        message: expect.stringContaining('send it as a string'),
      })
    }
  })
  test('a double beyond 64 bits is refused: ClickHouse could not read the data it stands in, and would count 0', () => {
    for (const x of [2 ** 63, -(2 ** 63), 1e20, 1e21, 1e300, 1.7976931348623e308]) {
      expect(typed('double').validate({ x })).toMatchObject({
        code: 'invalid_value',
        path: 'data.x',
        message: expect.stringContaining('send it as a string'),
      })
    }
  })
  test('NaN, Infinity and numbers as text are no doubles', () => {
    for (const x of ['NaN', 'Infinity', '1', '', '1e400']) expect(refusalOf('double', x)).toEqual(INVALID)
  })
  test('a float must lie in its range', () => {
    expect(jsonOf('float', 0.1)).toBe('0.1')
    expect(refusalOf('float', 1e300)).toEqual(INVALID)
  })
  test('JSON text has no exponents', () => {
    const cases = {
      '1e-7': '0.0000001',
      '1.5e-7': '0.00000015',
      '-1.25e-22': `-0.${'0'.repeat(21)}125`,
    }
    for (const [text, plain] of Object.entries(cases)) expect(jsonOf('double', Number(text))).toBe(plain)
    expect(jsonOf({ type: 'map', values: ['double', 'string'] }, { 'a"': 1e-9, b: '1e-9' })).toBe(
      '{"a\\"":0.000000001,"b":"1e-9"}',
    )
  })
  const numbers = fc.oneof(
    fc.double({ noNaN: true }),
    fc.maxSafeInteger(),
    fc.integer().map((n) => n / 1000),
  )
  test('exactly the doubles of at most 15 digits in their shortest form are taken, and written as the same double', () => {
    fc.assert(
      fc.property(numbers, fc.integer({ min: 1, max: 17 }), (any, precision) => {
        const x = Number(any.toPrecision(precision))
        const digits = String(x).replace(/e.*$/, '').replace(/[-.]/g, '').replace(/^0+/, '').replace(/0+$/, '')
        const whole = String(x).includes('e') || String(x).includes('.') ? digits.length : String(Math.abs(x)).length
        const exact = Math.abs(x) < 2 ** 63 && !Object.is(x, -0) && Math.min(digits.length, whole) <= 15
        const outcome = typed('double').validate({ x })
        expect(outcome.ok).toBe(exact)
        if (!outcome.ok) return
        expect(outcome.json).toMatch(/^\{"x":-?\d+(\.\d+)?\}$/)
        expect(JSON.parse(outcome.json).x).toBe(x)
      }),
    )
  })
  test('a decimal is a string that fits precision and scale', () => {
    const decimal = { type: 'bytes', logicalType: 'decimal', precision: 6, scale: 2 }
    for (const x of ['0', '12.5', '-1234.56', '0001234.5']) expect(jsonOf(decimal, x)).toBe(JSON.stringify(x))
    const wrong = [
      '12345',
      '1.234',
      '-0',
      '-0.00',
      '1e3',
      'NaN',
      ' 1',
      '１',
      '0x1',
      '1_000',
      '',
      '.5',
      '1.',
      '+1',
      12.5,
      null,
    ]
    for (const x of wrong) expect(refusalOf(decimal, x), String(x)).toEqual(INVALID)
  })
})

describe('other types', () => {
  test('strings are well-formed Unicode of at most 64 KiB', () => {
    expect(jsonOf('string', 'é\0"😀')).toBe('"é\\u0000\\"😀"')
    expect(refusalOf('string', 'é'.repeat(32_768))).toBe('accepted')
    for (const x of ['\ud800', 'a\udc00', 'é'.repeat(32_769), 'a'.repeat(10_000_000), 5, null]) {
      expect(refusalOf('string', x)).toEqual(INVALID)
    }
  })
  test('booleans, nulls and enums are exact', () => {
    expect(jsonOf('boolean', true)).toBe('true')
    expect(jsonOf('null', null)).toBe('null')
    const colour = { type: 'enum', name: 'Colour', symbols: ['red', 'green'], default: 'red' }
    expect(jsonOf(colour, 'green')).toBe('"green"')
    for (const x of ['blue', 'constructor', 0, null]) expect(refusalOf(colour, x)).toEqual(INVALID)
    for (const x of [0, 'true', null]) expect(refusalOf('boolean', x)).toEqual(INVALID)
    for (const x of [0, false, '', 'null']) expect(refusalOf('null', x)).toEqual(INVALID)
  })
  test('arrays name the item that is wrong and have at most 1,000', () => {
    const longs = { type: 'array', items: 'long' }
    expect(jsonOf(longs, [1, 2])).toBe('[1,2]')
    expect(refusalOf(longs, [1, 'a'])).toEqual(['invalid_value', 'data.x[1]'])
    expect(refusalOf(longs, new Array(1000).fill(1))).toBe('accepted')
    expect(refusalOf(longs, new Array(1001).fill(1))).toEqual(INVALID)
    expect(refusalOf(longs, { length: 1, 0: 1 })).toEqual(INVALID)
  })
  test('maps have at most 256 keys of 256 bytes, sorted in the text', () => {
    const tags = { type: 'map', values: 'string' }
    expect(jsonOf(tags, { b: '1', a: '2' })).toBe('{"a":"2","b":"1"}')
    expect(refusalOf(tags, { a: 1 })).toEqual(['invalid_value', 'data.x.a'])
    expect(refusalOf(tags, { 'a b': 1 })).toEqual(['invalid_value', 'data.x["a b"]'])
    const keys = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`k${index}`, '']))
    expect(refusalOf(tags, keys(256))).toBe('accepted')
    expect(refusalOf(tags, keys(257))).toEqual(INVALID)
    expect(refusalOf(tags, { ['é'.repeat(128)]: '' })).toBe('accepted')
    expect(refusalOf(tags, { ['é'.repeat(129)]: '' })).toMatchObject({ 0: 'invalid_value' })
    expect(refusalOf(tags, { '\ud800': '' })).toEqual(INVALID)
  })
  test('in a union the first branch that matches wins', () => {
    const a = { type: 'record', name: 'A', fields: [{ name: 'n', type: 'int', default: 1 }] }
    const b = {
      type: 'record',
      name: 'B',
      fields: [
        { name: 'n', type: 'int', default: 2 },
        { name: 'm', type: 'int', default: 3 },
      ],
    }
    expect(jsonOf([a, b], {})).toBe('{"n":1}')
    expect(jsonOf([b, a], {})).toBe('{"n":2,"m":3}')
    expect(jsonOf([a, b], { m: 0 })).toBe('{"n":2,"m":0}')
    expect(jsonOf(['int', 'string'], '5')).toBe('"5"')
    expect(jsonOf(['int', 'double'], 0.5)).toBe('0.5')
    expect(refusalOf(['int', 'string'], null)).toEqual(INVALID)
    expect(refusalOf([a, b], { z: 1 })).toEqual(INVALID)
  })
  test('the only branch that can take a value says what is wrong inside it', () => {
    expect(refusalOf(['null', { type: 'array', items: 'int' }], [1, null])).toEqual(['invalid_value', 'data.x[1]'])
  })
})

describe('hostile data', () => {
  const node = {
    type: 'record',
    name: 'Node',
    fields: [{ name: 'next', type: ['null', 'Node'], default: null }],
  }
  const chain = (levels: number): Json => JSON.parse(`${'{"next":'.repeat(levels)}null${'}'.repeat(levels)}`)
  test('a recursive type is followed 32 levels and no further', () => {
    expect(compileEventType(node).validate(chain(32)).ok).toBe(true)
    expect(compileEventType(node).validate(chain(33))).toMatchObject({ code: 'invalid_value' })
    expect(compileEventType(node).validate(chain(1_000))).toMatchObject({ code: 'invalid_value' })
  })
  test('__proto__ pollutes nothing, as an undeclared field, a map key and a field', () => {
    const hostile = JSON.parse('{"x":{"__proto__":{"polluted":"yes"},"constructor":"c"}}')
    const inner = { type: 'record', name: 'Inner', fields: [{ name: 'constructor', type: 'string' }] }
    expect(typed(inner).validate(hostile)).toMatchObject({ code: 'unknown_field', path: 'data.x.__proto__' })
    const map = typed({ type: 'map', values: ['string', { type: 'map', values: 'string' }] }).validate(hostile)
    expect(map).toMatchObject({ ok: true, json: '{"x":{"__proto__":{"polluted":"yes"},"constructor":"c"}}' })
    const x = map.ok ? (map.value.x as Json) : {}
    expect(x.polluted).toBeUndefined()
    expect(Object.hasOwn(x, '__proto__')).toBe(true)
    const field = compileEventType(record({ name: '__proto__', type: { type: 'map', values: 'int' } }))
    const outcome = field.validate(JSON.parse('{"__proto__":{"polluted":1}}'))
    expect(outcome).toMatchObject({ ok: true, json: '{"__proto__":{"polluted":1}}' })
    expect(outcome.ok && outcome.value.polluted).toBeUndefined()
    expect(({} as Json).polluted).toBeUndefined()
    expect(Object.keys(Object.prototype)).toEqual([])
  })
  test('what every object inherits counts neither as sent nor as read', () => {
    for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      const type = compileEventType(record({ name, type: ['null', 'string'] }))
      expect(type.validate({})).toMatchObject({ code: 'missing_field', path: `data.${name}` })
      const other = typed('int').validate({ x: 1 })
      expect(other.ok && (other.value as Json)[name]).toBeUndefined()
    }
  })
  test('an event is at most 256 KiB of text', () => {
    const strings = { type: 'array', items: 'string' }
    expect(refusalOf(strings, new Array(4).fill('a'.repeat(65_000)))).toBe('accepted')
    expect(refusalOf(strings, new Array(5).fill('a'.repeat(65_000)))).toMatchObject({ 0: 'invalid_value' })
    expect(refusalOf(strings, new Array(4).fill('"'.repeat(65_000)))).toEqual(['invalid_value', 'data'])
  })
  test('what a failed branch of a union had read does not count towards the size', () => {
    const text = { name: 'text', type: 'string' }
    const a = { type: 'record', name: 'A', fields: [text, { name: 'n', type: 'int' }] }
    const b = { type: 'record', name: 'B', fields: [text, { name: 'n', type: 'string' }] }
    const items = new Array(4).fill({ text: 'a'.repeat(60_000), n: '1' })
    expect(refusalOf({ type: 'array', items: [a, b] }, items)).toBe('accepted')
  })
  test('look-alike unions do not multiply the work', () => {
    // Three records that differ only at the end, each of which may hold any of them: 3^31 ways to read the data.
    const next = (...types: unknown[]) => ({ name: 'next', type: [...types, 'null'], default: null })
    const named = (name: string, ...fields: unknown[]) => ({ ...record(...fields), name })
    const c = named('C', next('A', 'B', 'C'), { name: 'c', type: 'int', default: 0 })
    const b = named('B', next('A', 'B', c), { name: 'b', type: 'int', default: 0 })
    const type = compileEventType(named('A', next('A', b, 'C'), { name: 'a', type: 'int', default: 0 }))
    const nested = (last: string) => JSON.parse(`${'{"next":'.repeat(31)}${last}${'}'.repeat(31)}`)
    // Without a budget this would outlast the test's time.
    expect(type.validate(nested('{"z":1}'))).toMatchObject({ ok: false, code: 'invalid_value' })
    expect(type.validate(nested('{"c":1}')).ok).toBe(true)
  })
  test('no value makes it throw', () => {
    const anything = fc.anything({ withNullPrototype: true, withBigInt: true, withDate: true, withMap: true })
    fc.assert(
      fc.property(arbitraryRecord(2), fc.oneof(anything, fc.jsonValue()), (tree, data) => {
        expect(typeof compileEventType(avroOf(tree)).validate(data).ok).toBe('boolean')
      }),
    )
  })
})

describe('every schema and every value of it', () => {
  const pairs = arbitraryRecord(3).chain((tree) => fc.tuple(fc.constant(tree), arbitraryValue(tree)))
  test('is accepted, and its text and object are accepted as themselves again', () => {
    fc.assert(
      fc.property(pairs, ([tree, value]) => {
        const type = compileEventType(avroOf(tree))
        const data = JSON.parse(JSON.stringify(value))
        const outcome = type.validate(data)
        expect(outcome).toMatchObject({ ok: true })
        if (!outcome.ok) return
        const again = type.validate(JSON.parse(outcome.json))
        expect(again).toEqual(outcome)
        expect(JSON.parse(outcome.json)).toEqual(JSON.parse(JSON.stringify(outcome.value)))
        expect(type.validate(outcome.value)).toEqual(outcome)
      }),
      { numRuns: 300 },
    )
  })
  test('is stored so that it compiles to the same, and is a schema for other readers of Avro too', () => {
    fc.assert(
      fc.property(pairs, ([tree, value]) => {
        const type = compileEventType(avroOf(tree))
        const stored = compileEventType(JSON.parse(JSON.stringify(type.schema)))
        expect(stored.schema).toEqual(type.schema)
        expect(stored.validate(value)).toEqual(type.validate(value))
        const withoutDefaults = JSON.parse(JSON.stringify(type.schema), (key, member) =>
          key === 'default' ? undefined : member,
        )
        expect(() => avsc.Type.forSchema(withoutDefaults)).not.toThrow()
      }),
    )
  })
})
