import { gzipSync } from 'node:zlib'
import { createRecordsBatch, type MessageRecord } from '@platformatic/kafka'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { InputRecord } from '../../../../ingest/doors/kafka/input.ts'
import { type Portion, portionsOf } from '../../../../ingest/doors/kafka/portions.ts'
import { type Aborted, batchesIn, committedOf } from '../../../../ingest/doors/kafka/record-batches.ts'
import { unpack } from '../../../../ingest/doors/kafka/unpack.ts'

type Sent = { value: string; key?: string; headers?: Record<string, string> }
type Head = { attributes?: number; producerId?: bigint; compressed?: (body: Buffer) => Buffer }

const HEAD_BYTES = 61
const TRANSACTIONAL = 1 << 4
const CONTROL = 1 << 5

/** A batch as the client's own producer writes it, at the offset that a broker gave it. */
function batch(
  firstOffset: number,
  sent: readonly Sent[],
  { attributes = 0, producerId, compressed }: Head = {},
): Buffer {
  const messages = sent.map(({ value, key, headers = {} }) => ({
    topic: 't',
    ...(key === undefined ? {} : { key: Buffer.from(key) }),
    value: Buffer.from(value),
    headers: new Map(Object.entries(headers).map(([name, text]) => [Buffer.from(name), Buffer.from(text)])),
  }))
  const written = Buffer.from(createRecordsBatch(messages as unknown as MessageRecord[]).buffer)
  const body = written.subarray(HEAD_BYTES)
  const bytes = compressed ? Buffer.concat([written.subarray(0, HEAD_BYTES), compressed(body)]) : written
  bytes.writeBigInt64BE(BigInt(firstOffset), 0)
  bytes.writeInt32BE(bytes.length - 12, 8)
  bytes.writeInt16BE(attributes, 21)
  if (producerId !== undefined) bytes.writeBigInt64BE(producerId, 43)
  return bytes
}

async function portions(bytes: Buffer, from = 0, aborted: Aborted[] = []): Promise<Portion[]> {
  const all: Portion[] = []
  for await (const portion of portionsOf({ bytes, aborted }, from)) all.push(portion)
  return all
}
const recordsIn = async (bytes: Buffer, from = 0, aborted: Aborted[] = []): Promise<InputRecord[]> =>
  (await portions(bytes, from, aborted)).flatMap(({ records }) => records)
const texts = (records: readonly InputRecord[]) => records.map(({ offset, value }) => `${offset} ${value}`)

const sentRecord = fc.record({
  value: fc.string({ maxLength: 300 }),
  headers: fc.dictionary(fc.stringMatching(/^[a-z_]{1,9}$/), fc.string({ maxLength: 20 }), {
    maxKeys: 3,
    noNullPrototype: true,
  }),
})
const sentBatches = fc.array(fc.array(sentRecord, { minLength: 1, maxLength: 9 }), { maxLength: 6 })

describe('a partition’s bytes', () => {
  test('are read record by record, as the client wrote them, from any offset on, packed or not', async () => {
    await fc.assert(
      fc.asyncProperty(sentBatches, fc.boolean(), fc.nat(40), async (sent, packed, from) => {
        const head: Head = packed ? { attributes: 1, compressed: (body) => gzipSync(body) } : {}
        let next = 0
        const expected: InputRecord[] = []
        const bytes = sent.map((records) => {
          const first = next
          for (const { value, headers } of records) {
            if (next >= from)
              expected.push({ offset: next, value: Buffer.from(value), headers: new Map(Object.entries(headers)) })
            next++
          }
          return batch(first, records, head)
        })
        const read = await portions(Buffer.concat(bytes), from)
        expect(read.flatMap(({ records }) => records)).toEqual(expected)
        // Each portion begins where the one before it ended: nothing lies between them.
        expect([from, ...read.map((one) => one.next)].slice(0, read.length)).toEqual(read.map(({ first }) => first))
        expect(read.at(-1)?.next ?? from).toBe(Math.max(from, read.length > 0 ? next : from))
      }),
    )
  })

  test('whose last batch the broker cut are read up to it', () => {
    const whole = batch(0, [{ value: 'a' }])
    const cut = batch(1, [{ value: 'b' }])
    for (let length = 0; length < cut.length; length++) {
      expect(batchesIn(Buffer.concat([whole, cut.subarray(0, length)]))).toHaveLength(1)
    }
  })

  test('never throw and never run on, whatever they are', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.nat(200), async (noise, at) => {
        const bytes = Buffer.concat([batch(0, [{ value: 'abc' }, { value: 'def' }]), Buffer.alloc(60)])
        bytes.set(
          noise.subarray(0, Math.max(0, bytes.length - HEAD_BYTES - 1)),
          Math.min(at + HEAD_BYTES, bytes.length - 1 - Math.min(noise.length, bytes.length - HEAD_BYTES - 1)),
        )
        const [portion] = await portions(bytes)
        expect(portion?.next ?? 2).toBe(2)
        const taken = new Set([...(portion?.records ?? []), ...(portion?.faults ?? [])].map(({ offset }) => offset))
        if (portion && portion.faults.length === 0) expect(taken.size).toBeGreaterThan(0)
      }),
    )
  })
})

describe('transactions of a producer', () => {
  const [mine, other] = [7n, 8n]
  const transactional = (first: number, producerId: bigint, value: string) =>
    batch(first, [{ value }], { attributes: TRANSACTIONAL, producerId })
  const end = (first: number, producerId: bigint) =>
    batch(first, [{ value: '' }], { attributes: TRANSACTIONAL | CONTROL, producerId })

  test('that were given up are not read, those of others and later ones are', async () => {
    const bytes = Buffer.concat([
      transactional(0, mine, 'given up'),
      transactional(1, other, 'kept'),
      end(2, mine),
      transactional(3, mine, 'later'),
      end(4, other),
      end(5, mine),
    ])
    const aborted = [{ producerId: mine, firstOffset: 0n }]
    expect(texts(await recordsIn(bytes, 0, aborted))).toEqual(['1 kept', '3 later'])
    expect((await portions(bytes, 0, aborted)).at(-1)?.next, 'and reading goes on behind all of it').toBe(6)
    expect([...committedOf(batchesIn(bytes), aborted)]).toHaveLength(2)
  })
})

describe('what cannot be read is named, with its offsets', () => {
  const faultsIn = async (bytes: Buffer) =>
    (await portions(bytes)).flatMap(({ faults }) =>
      faults.map(({ code, offset, lastOffset }) => ({ code, offset, lastOffset })),
    )

  test('a batch that is a bomb: its bound is kept while it is unpacked', async () => {
    const bomb = batch(3, [{ value: 'a' }, { value: 'b' }], {
      attributes: 1,
      compressed: () => gzipSync(Buffer.alloc(64 * 1024 ** 2)),
    })
    expect(bomb.length).toBeLessThan(100_000)
    const before = process.memoryUsage().arrayBuffers
    expect(await faultsIn(bomb)).toEqual([{ code: 'batch_too_large', offset: 3, lastOffset: 4 }])
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(40 * 1024 ** 2)
    expect(texts(await recordsIn(Buffer.concat([bomb, batch(5, [{ value: 'next' }])])))).toEqual(['5 next'])
  })

  test.each([
    ['snappy', 2, 'unsupported_compression'],
    ['lz4', 3, 'unsupported_compression'],
    ['an unknown compression', 6, 'unsupported_compression'],
    ['gzip that is none', 1, 'unreadable_batch'],
  ])('a batch of %s', async (_, attributes, code) => {
    const bytes = Buffer.concat([
      batch(0, [{ value: 'a' }]),
      batch(1, [{ value: 'b' }, { value: 'c' }], { attributes }),
    ])
    expect(await faultsIn(bytes)).toEqual([{ code, offset: 1, lastOffset: 2 }])
    expect(texts(await recordsIn(bytes))).toEqual(['0 a'])
  })

  test('a record that is too large; the one after it is read', async () => {
    const bytes = batch(0, [{ value: 'x'.repeat(1_048_577) }, { value: 'b' }])
    expect(await faultsIn(bytes)).toEqual([{ code: 'record_too_large', offset: 0, lastOffset: 0 }])
    expect(texts(await recordsIn(bytes))).toEqual(['1 b'])
  })

  test('an old format', async () => {
    const bytes = batch(4, [{ value: 'a' }])
    bytes.writeInt8(1, 16)
    expect(await faultsIn(bytes)).toEqual([{ code: 'unreadable_batch', offset: 4, lastOffset: 4 }])
    await expect(unpack(batchesIn(bytes)[0]!)).rejects.toMatchObject({ code: 'unreadable_batch' })
  })
})

test('portions are small: 250 records, or a mebibyte and a record', async () => {
  const many = batch(
    0,
    Array.from({ length: 600 }, (_, n) => ({ value: String(n) })),
  )
  expect((await portions(many)).map(({ records }) => records.length)).toEqual([250, 250, 100])
  const large = batch(
    0,
    Array.from({ length: 5 }, () => ({ value: 'x'.repeat(400_000) })),
  )
  expect((await portions(large)).map(({ records }) => records.length)).toEqual([3, 2])
})

/** Review of session 4: only values were counted, faults not at all, and parts of a batch kept all of it in memory. */
describe('what a portion holds is bounded, whatever its records are made of', () => {
  const MIB = 1_048_576
  const packed: Head = { attributes: 1, compressed: (body) => gzipSync(body) }
  const times = (count: number, one: Sent): Sent[] => Array.from({ length: count }, () => one)

  test.each<[string, Sent]>([
    ['keys', { value: 'v', key: 'k'.repeat(400_000) }],
    ['headers', { value: 'v', headers: { h: 'x'.repeat(400_000) } }],
  ])('%s count like values', async (_, one) => {
    const read = await portions(batch(0, times(5, one)))
    expect(read.map(({ records }) => records.length)).toEqual([3, 2])
  })

  test.each<[string, Sent]>([
    ['key', { value: 'v', key: 'k'.repeat(MIB) }],
    ['header', { value: 'v', headers: { h: 'x'.repeat(MIB) } }],
  ])('a record with a %s of more than a mebibyte is too large', async (_, one) => {
    const [portion] = await portions(batch(0, [one, { value: 'next' }], packed))
    expect(portion?.faults).toMatchObject([{ code: 'record_too_large', offset: 0, valueBytes: 1 }])
    expect(texts(portion?.records ?? [])).toEqual(['1 next'])
  })

  test('of what is refused a short copy is kept, and its length', async () => {
    const [portion] = await portions(batch(0, [{ value: 'x'.repeat(2 * MIB) }], packed))
    const [fault] = portion?.faults ?? []
    expect(fault).toMatchObject({ code: 'record_too_large', valueBytes: 2 * MIB })
    expect(fault?.excerpt).toHaveLength(2_048)
    expect(fault?.excerpt.buffer.byteLength).toBeLessThan(65_536)
  })

  test('values of a compressed batch do not keep the unpacked batch', async () => {
    const [portion] = await portions(batch(0, [{ value: 'x'.repeat(2 * MIB) }, { value: 'small' }], packed))
    expect(portion?.records[0]?.value.buffer.byteLength).toBeLessThan(65_536)
  })

  test('faults count as records: of 600 batches that cannot be read 250 are in one portion', async () => {
    const bytes = Array.from({ length: 600 }, (_, offset) => batch(offset, [{ value: 'a' }], { attributes: 2 }))
    const read = await portions(Buffer.concat(bytes))
    expect(read.map(({ faults }) => faults.length)).toEqual([250, 250, 100])
  })
})

describe('offsets that a producer made up', () => {
  /** A record with a value of one byte: length, attributes, time, offset, key, value (two), headers. */
  const OFFSET_AT = 3
  const RECORD_BYTES = 8
  const withOffsets = (...deltas: number[]) => {
    const bytes = batch(
      0,
      deltas.map(() => ({ value: 'a' })),
    )
    deltas.forEach((delta, at) => {
      bytes.writeUInt8(2 * delta, HEAD_BYTES + at * RECORD_BYTES + OFFSET_AT)
    })
    return bytes
  }
  const codesIn = (read: readonly Portion[]) =>
    read.flatMap(({ faults }) => faults.map(({ code, offset, lastOffset }) => `${code} ${offset}-${lastOffset}`))

  test('are read where they rise', async () => {
    expect(texts(await recordsIn(withOffsets(0, 1, 2)))).toEqual(['0 a', '1 a', '2 a'])
  })

  test.each([
    ['stand still', [0, 0, 2], 'unreadable_batch 1-2'],
    ['fall', [0, 2, 1], 'unreadable_batch 2-2'],
    ['leave the batch, whose successor would be passed over', [0, 1, 60], 'unreadable_batch 2-2'],
  ])('that %s are a fault, and reading goes on behind the batch', async (_, deltas, fault) => {
    const read = await portions(Buffer.concat([withOffsets(...deltas), batch(3, [{ value: 'next' }])]))
    expect(codesIn(read)).toEqual([fault])
    expect(texts(read.flatMap(({ records }) => records)).at(-1)).toBe('3 next')
    expect(read.at(-1)?.next).toBe(4)
  })
})
