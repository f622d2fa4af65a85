import { Readable } from 'node:stream'
import avsc from 'avsc'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decodeBatch, encodeBatch, encodeLogRows, type LogRow } from '../../../schemas/event/usage-batch.avro.ts'
import { encodeEvent, type UsageEvent } from '../../../schemas/event/usage-event.ts'
import { schemaFile } from '../../../schemas/files.ts'

/** As a consumer would that has the published schema and nothing of ours. */
const published = avsc.Type.forSchema(JSON.parse(schemaFile('event/usage-batch.avsc')) as avsc.Schema)

/** Avro libraries in JavaScript stop a little below 2^53. */
const long = fc.integer({ min: 0, max: 2 ** 53 - 2 })
const text = fc.string({ unit: 'grapheme', maxLength: 30 })
const event: fc.Arbitrary<UsageEvent> = fc.record({
  tenant: fc.integer({ min: 1, max: 2 ** 31 - 1 }),
  source: text,
  id: text,
  shard: long,
  type: text,
  subject: text,
  timeMs: fc.integer({ min: -1e13, max: 1e13 }),
  timeGiven: fc.boolean(),
  data: fc.json(),
})
const events = fc.array(event, { maxLength: 40 })

function asPublished({ timeMs, timeGiven, ...same }: UsageEvent) {
  return { ...same, time: timeMs, time_given: timeGiven }
}

describe('a batch', () => {
  test('is read by any Avro consumer with the published schema', () => {
    fc.assert(
      fc.property(events, (some) => {
        const batch: unknown = published.fromBuffer(encodeBatch(some.map(encodeEvent)))
        expect(batch).toEqual({ count: some.length, events: some.map(asPublished) })
      }),
    )
  })

  test('comes back as it was, and its bytes are those of any Avro producer', () => {
    fc.assert(
      fc.property(events, (some) => {
        const bytes = encodeBatch(some.map(encodeEvent))
        expect(decodeBatch(bytes)).toEqual(some)
        expect(decodeBatch(published.toBuffer({ count: some.length, events: some.map(asPublished) }))).toEqual(some)
      }),
    )
  })

  test('keeps its events as they were written, however many are written after them and however large', () => {
    const data = fc.oneof(
      fc.json(),
      fc.integer({ min: 0, max: 90_000 }).map((length) => `"${'é'.repeat(length)}"`),
    )
    fc.assert(
      fc.property(fc.array(fc.record({ event, data }), { maxLength: 60 }), (some) => {
        const given = some.map((one) => ({ ...one.event, data: one.data }))
        const encoded = given.map(encodeEvent)
        const copies = given.map((one) => Buffer.from(encodeEvent(one)))
        expect(encoded.every((bytes, at) => bytes.equals(copies[at] ?? Buffer.alloc(0)))).toBe(true)
        expect(decodeBatch(encodeBatch(encoded))).toEqual(given)
      }),
      { numRuns: 40 },
    )
  })

  test('of events that are alike in part, in any order, is what they are', () => {
    const few = (values: readonly string[]) => fc.constantFrom(...values)
    const alike = fc.record({
      ...{ tenant: fc.constantFrom(1, 2 ** 31 - 1), source: few(['', 'a', 'é']), id: few(['1', '22', 'é', '']) },
      ...{ shard: fc.constantFrom(0, 1, 2 ** 48), type: few(['t', 'ü', '']), subject: few(['s', 'ß', 'x'.repeat(70)]) },
      ...{ timeMs: fc.constantFrom(0, 2 ** 40), timeGiven: fc.boolean() },
      data: few(['{}', `"${'y'.repeat(1_100)}"`, `"${'é'.repeat(1_100)}"`, `"${'é'.repeat(60)}"`]),
    })
    fc.assert(
      fc.property(fc.array(alike, { maxLength: 60 }), (some) => {
        expect(decodeBatch(encodeBatch(some.map(encodeEvent)))).toEqual(some)
      }),
    )
  })

  test('of no events is a batch, too', () => {
    expect(decodeBatch(encodeBatch([]))).toEqual([])
  })

  test('of 250 large events stays one array', () => {
    const large: UsageEvent = {
      ...{ tenant: 1, source: 's', id: 'i', shard: 2 ** 48, type: 't', subject: 'x', timeMs: 1, timeGiven: true },
      data: JSON.stringify({ text: 'é'.repeat(100_000) }),
    }
    const many = Array.from({ length: 250 }, (_, n) => ({ ...large, id: `i-${n}` }))
    expect(decodeBatch(encodeBatch(many.map(encodeEvent)))).toEqual(many)
  })
})

describe('a file of log rows', () => {
  const place = { knownAtMs: long, partition: fc.nat(1_000), offset: long }

  test('is an Avro object container file that any reader reads', async () => {
    const rows = fc.array(fc.tuple(fc.record(place), events), { maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(rows, async (given) => {
        const file = given.map(([at, some]): LogRow => ({ ...at, batch: encodeBatch(some.map(encodeEvent)) }))
        expect(await readRows(encodeLogRows(file))).toEqual(
          given.map(([{ knownAtMs, partition, offset }, some]) => ({
            ...{ known_at: knownAtMs, partition, offset },
            batch: { count: some.length, events: some.map(asPublished) },
          })),
        )
      }),
      { numRuns: 50 },
    )
  })

  test('carries the schema that was published, inside its own', async () => {
    const schema = await readSchema(encodeLogRows([]))
    expect(schema.fields[3]?.type).toEqual(JSON.parse(schemaFile('event/usage-batch.avsc')))
  })
})

function readRows(file: Buffer): Promise<unknown[]> {
  return new Promise((done, fail) => {
    const rows: unknown[] = []
    const decoder = new avsc.streams.BlockDecoder()
    // Avro's decoder makes instances of record classes: plain ones compare.
    decoder.on('data', (row) => rows.push(JSON.parse(JSON.stringify(row))))
    decoder.on('error', fail)
    decoder.on('end', () => done(rows))
    Readable.from([file]).pipe(decoder)
  })
}

function readSchema(file: Buffer): Promise<{ fields: { type: unknown }[] }> {
  return new Promise((done, fail) => {
    const decoder = new avsc.streams.BlockDecoder({
      parseHook: (schema) => {
        done(schema as unknown as { fields: { type: unknown }[] })
        return avsc.Type.forSchema(schema)
      },
    })
    decoder.on('error', fail)
    decoder.on('data', () => undefined)
    Readable.from([file]).pipe(decoder)
  })
}
