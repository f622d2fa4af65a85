import avsc from 'avsc'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { progressOf } from '../../../aggregator/pump/progress.ts'
import { type ClickHouseStore, isDataError } from '../../../schemas/clickhouse/store.ts'
import { FIRST_OPAQUE_SHARD } from '../../../schemas/event/identity.ts'
import type { LogRow } from '../../../schemas/event/usage-batch.avro.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { batchOf, logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'

const long = avsc.Type.forSchema('long')
const HOUR_MS = 3_600_000

/** Ids of one slice, of another, and opaque ones; texts whose bytes look like anything. */
const event = fc
  .record({
    id: fc.oneof(
      fc.constantFrom('01932d1c-5f00-7000-8000-00000000000a', '01932d1c-ff00-7000-8000-00000000000b'),
      fc.string({ unit: 'binary', maxLength: 8 }),
    ),
    tenant: fc.constantFrom(1, 2, 2 ** 31 - 1),
    source: fc.string({ unit: 'binary', maxLength: 200 }),
    subject: fc.string({ unit: 'binary', maxLength: 70 }),
    timeMs: fc.integer({ min: -1, max: 4_102_444_800_000 }),
    timeGiven: fc.boolean(),
    data: fc.dictionary(fc.string(), fc.integer(), { maxKeys: 3 }),
  })
  .map(({ id, ...change }) => usageEvent(id, change))
const place = fc.record({ partition: fc.nat(2), hours: fc.nat(2), events: fc.array(event, { maxLength: 6 }) })

/** Records of several partitions, each dense and in the order of their time, beside the events they were made of. */
const records = fc.array(place, { minLength: 1, maxLength: 8 }).map((places) => {
  const sorted = places.toSorted((a, b) => a.hours - b.hours)
  return sorted.map(({ partition, hours, events }, index) => {
    const offset = 5 + sorted.slice(0, index).filter((before) => before.partition === partition).length
    return { events, row: logRow(events, { partition, offset, knownAtMs: NOVEMBER_20 + hours * HOUR_MS + index }) }
  })
})
type Records = readonly { events: ReturnType<typeof usageEvent>[]; row: LogRow }[]

function naiveMarks(some: Records): string[] {
  const furthest = new Map<string, number>()
  for (const { events, row } of some) {
    for (const { tenant, shard } of events) {
      const hourMs = row.knownAtMs - (row.knownAtMs % HOUR_MS)
      const key = `${tenant} ${shard} ${row.partition} ${hourMs}`
      furthest.set(key, Math.max(furthest.get(key) ?? 0, row.offset + 1))
    }
  }
  return [...furthest].map(([key, next]) => `${key} ${next}`).sort()
}

/** design.md §2.6: events leave undecoded; of the bytes only who changed and how far is taken. */
describe('the progress that records make', () => {
  const seen = (some: Records) =>
    progressOf(some.map(({ row }) => row))
      .marks.map((one) => `${one.tenant} ${one.shard} ${one.partition} ${one.hourMs} ${one.nextOffset}`)
      .sort()

  test('marks each shard, partition and hour once, with how far it reaches', () => {
    fc.assert(
      fc.property(records, (some) => {
        expect(seen(some)).toEqual(naiveMarks(some))
      }),
    )
  })

  test('is one range a partition, from its first to its last offset, with all events', () => {
    fc.assert(
      fc.property(records, (some) => {
        for (const range of progressOf(some.map(({ row }) => row)).ranges) {
          const own = some.filter(({ row }) => row.partition === range.partition)
          expect(range).toEqual({
            partition: range.partition,
            firstOffset: 5,
            nextOffset: 5 + own.length,
            events: own.reduce((sum, { events }) => sum + events.length, 0),
            knownAtMs: own.at(-1)?.row.knownAtMs,
          })
        }
      }),
    )
  })

  test.each([2 ** 48, 2 ** 52, 2 ** 53 - 2])('knows a shard of any size: %i', (shard) => {
    expect(progressOf([logRow([{ ...usageEvent('a'), shard }])]).marks).toMatchObject([{ shard, nextOffset: 1 }])
  })

  test('is the same however a writer cuts its events into blocks, with or without their sizes', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(event, fc.boolean()), { minLength: 1 }), (some) => {
        const blocks = some.map(([one, sized]) => {
          const bytes = batchOf([one]).subarray(2, -1)
          return sized ? Buffer.concat([long.toBuffer(-1), long.toBuffer(bytes.length), bytes]) : withCount(1, bytes)
        })
        const batch = Buffer.concat([long.toBuffer(some.length), ...blocks, Buffer.from([0])])
        const events = some.map(([one]) => one)
        const cut = [{ events, row: { ...logRow([]), batch } }]
        expect(seen(cut)).toEqual(naiveMarks(cut))
      }),
    )
  })
})

function withCount(count: number, bytes: Buffer): Buffer {
  return Buffer.concat([long.toBuffer(count), bytes])
}

describe('a record that is not exactly one batch is an error of its data', () => {
  const row = (batch: Buffer): LogRow => ({ ...logRow([]), batch })
  const failure = (batch: Buffer): unknown => {
    try {
      return progressOf([row(batch)])
    } catch (error) {
      return error
    }
  }

  test('wherever it is cut off, and whatever follows it', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 3 }), fc.uint8Array({ minLength: 1, maxLength: 9 }), (events, more) => {
        const batch = batchOf(events)
        for (let length = 0; length < batch.length; length++) {
          expect(isDataError(failure(batch.subarray(0, length))), `cut to ${length}`).toBe(true)
        }
        expect(isDataError(failure(Buffer.concat([batch, more])))).toBe(true)
      }),
      { numRuns: 30 },
    )
  })

  test.each([
    [
      'a count that is not that of its events',
      Buffer.concat([long.toBuffer(2), batchOf([usageEvent('a')]).subarray(1)]),
    ],
    ['a negative tenant', Buffer.concat([Buffer.from('020201', 'hex'), batchOf([usageEvent('a')]).subarray(3)])],
    ['a length that runs backwards', Buffer.from('0202020100', 'hex')],
    ['a shard that JavaScript cannot hold', Buffer.from('02020200 00 feffffffffffffffff01'.replaceAll(' ', ''), 'hex')],
    ['a number without end', Buffer.from('ff'.repeat(4_000), 'hex')],
    ['more events than bytes could ever hold', Buffer.from('80808080804080808080804000', 'hex')],
  ])('%s', (_, batch) => {
    expect(isDataError(failure(batch))).toBe(true)
  })
})

describe('ClickHouse reads the same out of the bytes', () => {
  let store: ClickHouseStore
  let made = 0
  beforeAll(async () => {
    store = await openUsageStore()
  })
  afterAll(() => store.close())

  test('marks are those of the events it stored, and of a log of any name', async () => {
    await fc.assert(
      fc.asyncProperty(records, async (some) => {
        await store.command('TRUNCATE TABLE events')
        const log = `it's \\log\n${made++}`
        await insertRecords(
          store,
          log,
          some.map(({ row }) => row),
        )
        const fromEvents = `
          SELECT toString(tenant) AS tenant, toString(shard) AS shard, toString(toStartOfHour(known_at)) AS hour,
            toString(bitAnd(bitShiftRight(bitNot(version), 64), 1048575)) AS partition,
            toString(max(bitAnd(bitShiftRight(bitNot(version), 20), 17592186044415)) + 1) AS next
          FROM events GROUP BY ALL ORDER BY ALL`
        const marks = `
          SELECT toString(tenant) AS tenant, toString(shard) AS shard, toString(known_hour) AS hour,
            toString(partition) AS partition, toString(next_offset) AS next
          FROM shard_changes WHERE log = {log:String} ORDER BY ALL`
        expect(await store.query(marks, { log })).toEqual(await store.query(fromEvents))
      }),
      { numRuns: 15 },
    )
  })

  test('as many marks as there are shards go in one statement', async () => {
    const events = Array.from({ length: 20_000 }, (_, n) => ({
      ...usageEvent(`many-${n}`),
      shard: FIRST_OPAQUE_SHARD + n,
    }))
    await insertRecords(store, 'many', [logRow(events)])
    expect(await store.query("SELECT toUInt32(count()) AS marks FROM shard_changes WHERE log = 'many'")).toEqual([
      { marks: 20_000 },
    ])
  })
})
