import avsc from 'avsc'
import { afterEach, describe, expect, test } from 'vitest'
import { type AvroBounds, type AvroDecoder, createAvroDecoder } from '../../../../ingest/doors/kafka/avro-decoder.ts'
import type { AvroMapping } from '../../../../ingest/doors/kafka/avro-event.ts'

const fields = { subject: 'who' }
const text = { name: 'who', type: 'string' }
const record = (more: object[]) => ({ type: 'record', name: 'R', fields: [text, ...more] })
const USAGE: AvroMapping = { id: 1, schema: record([{ name: 'tokens', type: 'long' }]), type: 'used', fields }
/** Items without bytes: their number is all that is sent. */
const NULLS: AvroMapping = {
  ...{ id: 2, type: 'used', fields },
  schema: record([{ name: 'bomb', type: { type: 'array', items: 'null' } }]),
}
const INTS: AvroMapping = { ...NULLS, id: 3, schema: record([{ name: 'bomb', type: { type: 'array', items: 'int' } }]) }
const MAPS: AvroMapping = { ...NULLS, id: 4, schema: record([{ name: 'bomb', type: { type: 'map', values: 'null' } }]) }
const NESTED: AvroMapping = {
  ...NULLS,
  id: 5,
  schema: record([{ name: 'bomb', type: ['null', 'R'] }]),
}

let decoder: AvroDecoder | undefined
afterEach(async () => decoder?.stop())
const open = (bounds?: AvroBounds): AvroDecoder => {
  decoder = createAvroDecoder([USAGE, NULLS, INTS, MAPS, NESTED], bounds)
  return decoder
}

const usage = (tokens: number) => {
  const payload = avsc.Type.forSchema(USAGE.schema as avsc.Schema).toBuffer({ who: 'me', tokens })
  return { schemaId: 1, payload }
}
const json = (tokens: number) => ({ json: JSON.stringify({ data: { tokens }, subject: 'me' }) })

/** A subject, then the count of 2 billion items in the five bytes that it takes. */
const bomb = (schemaId: number) => ({ schemaId, payload: Buffer.from('046d65feffffff0f', 'hex') })

const rejected = (code: string) => ({ code, message: expect.any(String) })

describe('design §7: Avro from outside is decoded by a thread with bounds', () => {
  test('records come out in their order, as JSON', async () => {
    const decoded = await open().decode([usage(1), usage(2), usage(3)])
    expect(decoded).toEqual([json(1), json(2), json(3)])
  })

  test.each([
    ['nulls', 2],
    ['numbers that are not there', 3],
    ['members of a map', 4],
  ])('five bytes that claim two billion %s take nothing; the records around them are read', async (_, id) => {
    const decoded = await open().decode([usage(1), bomb(id), usage(2)])
    expect(decoded).toEqual([json(1), rejected('avro_too_large'), json(2)])
  })

  test('a record that nests too deep is rejected', async () => {
    const payload = Buffer.concat([
      ...Array.from({ length: 100 }, () => Buffer.from('026d02', 'hex')),
      Buffer.from('026d00', 'hex'),
    ])
    expect(await open().decode([{ schemaId: 5, payload }])).toEqual([rejected('avro_too_large')])
  })

  test('an id that is not on the list is rejected', async () => {
    expect(await open().decode([{ ...usage(1), schemaId: 9 }])).toEqual([rejected('invalid_avro')])
  })

  test('what takes longer than it may ends the thread, and the next record finds another one', async () => {
    const type = avsc.Type.forSchema(USAGE.schema as avsc.Schema)
    const long = { schemaId: 1, payload: type.toBuffer({ who: 'x'.repeat(8 * 1024 ** 2), tokens: 1 }) }
    const [decoded] = await open({ heapMb: 128, busyMs: 1 }).decode([long])
    expect('code' in decoded! && decoded.code).toBe('avro_too_slow')
    await decoder?.stop()
    expect(await open().decode([usage(1)])).toEqual([json(1)])
  })

  test('records that are much together are answered in parts: of 24 MiB of JSON no more than about 4', async () => {
    const many = { schemaId: 2, payload: nulls(19_000) }
    const rest = Array.from({ length: 250 }, () => many)
    const parts: number[] = []
    for (const of = open(); rest.length > 0; ) {
      const decoded = await of.decode(rest.slice())
      expect(decoded.every((one) => 'json' in one)).toBe(true)
      rest.splice(0, decoded.length)
      parts.push(decoded.reduce((sum, one) => sum + ('json' in one ? one.json.length : 0), 0))
    }
    expect(parts.length).toBeGreaterThan(5)
    expect(Math.max(...parts)).toBeLessThan(5 * 1024 ** 2)
  })

  test('after one that ended the thread, records are read one by one: each has its outcome', async () => {
    const many = { schemaId: 2, payload: nulls(19_000) }
    const decoded = await open({ heapMb: 64, busyMs: 1 }).decode([many, many, many])
    expect(decoded).toHaveLength(3)
  })

  test('a name that each value would repeat is short', async () => {
    const long = { ...USAGE, schema: record([{ name: 'x'.repeat(129), type: 'long' }]) }
    decoder = createAvroDecoder([long])
    expect(await decoder.check()).toHaveLength(1)
  })

  test('schemas that cannot be used are named', async () => {
    const wrong = [
      { ...USAGE, schema: { type: 'record', name: 'R', fields: [{ name: 'who', type: 'unheard-of' }] } },
      { ...USAGE, schema: 'string' },
      USAGE,
      { ...USAGE, fields: { subject: 'nobody' } },
    ]
    decoder = createAvroDecoder(wrong)
    expect((await decoder.check()).map(({ index }) => index)).toEqual([0, 1, 3])
  })
})

/** So many items without bytes, in blocks as a writer would make them. */
function nulls(count: number): Buffer {
  const type = avsc.Type.forSchema(NULLS.schema as avsc.Schema)
  return type.toBuffer({ who: 'm', bomb: Array.from({ length: count }, () => null) })
}
