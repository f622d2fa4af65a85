import avsc from 'avsc'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createAvroReader } from '../../../../ingest/doors/kafka/avro-event.ts'
import { createValueReader, decimalText } from '../../../../ingest/doors/kafka/avro-values.ts'
import { unframe } from '../../../../ingest/doors/kafka/wire-format.ts'

type Case = { schema: unknown; value: unknown; json: unknown }

// avsc itself writes longs beyond 2^52 wrong.
const long = fc.integer({ min: -(2 ** 51), max: 2 ** 51 })
const leaves: fc.Arbitrary<Case>[] = [
  fc.boolean().map((value) => ({ schema: 'boolean', value, json: value })),
  fc.integer().map((value) => ({ schema: 'int', value, json: value })),
  long.map((value) => ({ schema: 'long', value, json: value })),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => ({ schema: 'double', value, json: value })),
  fc.string({ unit: 'grapheme' }).map((value) => ({ schema: 'string', value, json: value })),
  fc.uint8Array({ maxLength: 20 }).map((bytes) => {
    const value = Buffer.from(bytes)
    return { schema: 'bytes', value, json: value.toString('base64') }
  }),
  fc
    .constantFrom('A', 'B')
    .map((value) => ({ schema: { type: 'enum', name: 'E', symbols: ['A', 'B'] }, value, json: value })),
  fc.constant({ schema: 'null', value: null, json: null }),
]
/** A value with its schema, and what it is as JSON. Items of a list are alike. */
const cases = fc.letrec<{ one: Case }>((tie) => ({
  one: fc.oneof(
    { maxDepth: 3 },
    fc.oneof(...leaves),
    fc.tuple(tie('one'), fc.nat(4)).map(([item, count]) => {
      const list = <T>(of: T) => Array.from({ length: count }, () => of)
      return { schema: { type: 'array', items: item.schema }, value: list(item.value), json: list(item.json) }
    }),
    tie('one').map((member) => ({
      schema: { type: 'map', values: member.schema },
      value: { a: member.value },
      json: { a: member.json },
    })),
  ),
})).one

describe('values of any schema', () => {
  test('are read as avsc writes them', () => {
    fc.assert(
      fc.property(cases, ({ schema, value, json }) => {
        const type = avsc.Type.forSchema(schema as avsc.Schema, { wrapUnions: true })
        expect(createValueReader(schema).read(type.toBuffer(value))).toEqual(json)
      }),
    )
  })

  test('cut or followed by other bytes they are refused, and never anything else', () => {
    fc.assert(
      fc.property(cases, fc.nat(), ({ schema, value }, cut) => {
        const bytes = avsc.Type.forSchema(schema as avsc.Schema, { wrapUnions: true }).toBuffer(value)
        const { read } = createValueReader(schema)
        expect(() => read(Buffer.concat([bytes, Buffer.from([0])]))).toThrow('bytes too many')
        if (bytes.length > 0) expect(() => read(bytes.subarray(0, cut % bytes.length))).toThrow()
      }),
    )
  })

  test('of noise end, with a value or a fault', () => {
    const schema = {
      ...{ type: 'record', name: 'R' },
      fields: [
        { name: 'next', type: ['null', 'R', { type: 'array', items: 'R' }] },
        { name: 'nothing', type: { type: 'array', items: 'null' } },
        { name: 'more', type: { type: 'map', values: ['long', 'string'] } },
      ],
    }
    const { read } = createValueReader(schema)
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (noise) => {
        try {
          expect(read(noise)).toBeTypeOf('object')
        } catch (error) {
          expect(error).toHaveProperty('tooLarge')
        }
      }),
    )
  })

  test('beyond 2^53 are text, decimals are text, floats are the shortest, unions have no wrapper', () => {
    const decimal = { type: 'bytes', logicalType: 'decimal', precision: 10, scale: 2 }
    expect(createValueReader('long').read(Buffer.from('feffffffffffffffff01', 'hex'))).toBe('9223372036854775807')
    expect(createValueReader(decimal).read(Buffer.from('0404d2', 'hex'))).toBe('12.34')
    const float = Buffer.alloc(4)
    float.writeFloatLE(0.1)
    expect(createValueReader('float').read(float)).toBe(0.1)
    float.writeFloatLE(Number.NaN)
    expect(createValueReader('float').read(float), 'JSON has no such number').toBe('NaN')
    expect(createValueReader(['null', 'int']).read(Buffer.from('0202', 'hex'))).toBe(1)
  })

  test('a decimal is its units, and where the point is', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), fc.nat(20), (units, scale) => {
        const bytes = Buffer.alloc(8)
        bytes.writeBigInt64BE(units)
        const [whole = '', fraction = ''] = decimalText(bytes, scale).split('.')
        expect(BigInt(whole + fraction)).toBe(units)
        expect(fraction).toHaveLength(scale)
      }),
    )
  })
})

describe('a record as an event', () => {
  const schema = {
    ...{ type: 'record', name: 'R' },
    fields: [
      { name: 'key', type: 'long' },
      { name: 'who', type: ['null', 'string'] },
      { name: 'at', type: ['null', { type: 'long', logicalType: 'timestamp-micros' }] },
      { name: 'plain', type: 'long' },
      { name: 'payload', type: { type: 'record', name: 'P', fields: [{ name: 'tokens', type: 'int' }] } },
    ],
  }
  const bytes = avsc.Type.forSchema(schema as avsc.Schema, { wrapUnions: true }).toBuffer({
    ...{ key: 7, who: { string: 'me' }, at: { long: 1_700_000_000_123_456 }, plain: 5 },
    payload: { tokens: 3 },
  })

  test('named fields are its attributes, all others its data', () => {
    const read = createAvroReader({ schema, fields: { subject: 'who', id: 'key', time: 'at' } })
    expect(read(bytes)).toEqual({
      ...{ id: '7', subject: 'me', time: '2023-11-14T22:13:20.123Z' },
      data: { plain: 5, payload: { tokens: 3 } },
    })
  })

  test('or one field is the data; a number without a unit is no time', () => {
    const read = createAvroReader({ schema, fields: { subject: 'who', time: 'plain', data: 'payload' } })
    expect(read(bytes)).toEqual({ subject: 'me', time: 5, data: { tokens: 3 } })
  })

  test('a schema that is no record, or lacks a named field, is refused', () => {
    expect(() => createAvroReader({ schema: 'string', fields: { subject: 'a' } })).toThrow('must be a record')
    expect(() => createAvroReader({ schema, fields: { subject: 'whom' } })).toThrow('has no field whom')
  })
})

test('the framing is a zero and four bytes; anything else is none', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 12 }), (bytes) => {
      const value = Buffer.from(bytes)
      const frame = unframe(value)
      if (value.length < 5 || value[0] !== 0) expect(frame).toBeUndefined()
      else expect(frame).toEqual({ schemaId: value.readUInt32BE(1), payload: value.subarray(5) })
    }),
  )
})
