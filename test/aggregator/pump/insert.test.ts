import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { insertDeadLetter, insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { storedEnds } from '../../../schemas/clickhouse/stored-ends.clickhouse.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'
import { logRow, NOVEMBER_20, usageEvent } from '../../support/log-events.ts'

let store: ClickHouseStore
let log: string
let made = 0

beforeAll(async () => {
  store = await openUsageStore()
})
afterAll(() => store.close())
beforeEach(() => {
  log = `log-${made++}`
})

describe('the contiguous end of what is stored', () => {
  const insertRange = (first: number, next: number, partition = 0) =>
    insertRecords(
      store,
      log,
      Array.from({ length: next - first }, (_, n) =>
        logRow([usageEvent(`${made}-${first + n}`)], { partition, offset: first + n }),
      ),
    )
  /** Each in a file of its own: the rows of one file are dense. */
  const insert = async (partition: number, ...offsets: number[]) => {
    for (const offset of offsets) await insertRange(offset, offset + 1, partition)
  }

  test('is 0 where nothing is stored', async () => {
    expect(await storedEnds(store, log, 3)).toEqual([0, 0, 0])
  })

  test('lies before the first hole, and moves when it is filled', async () => {
    await insert(1, 0, 1, 3, 4, 6)
    expect(await storedEnds(store, log, 3)).toEqual([0, 2, 0])
    await insert(1, 5)
    expect(await storedEnds(store, log, 3)).toEqual([0, 2, 0])
    await insert(1, 2)
    expect(await storedEnds(store, log, 3)).toEqual([0, 7, 0])
  })

  test('counts a dead letter as dealt with', async () => {
    await insert(0, 0, 2)
    await insertDeadLetter(store, log, logRow([], { offset: 1 }), 'it was no Avro')
    expect(await storedEnds(store, log, 1)).toEqual([3])
  })

  test('does not go back when part of it is stored again, alone or with what comes after it', async () => {
    await insertRange(0, 10)
    for (const [first, next, end] of [
      [2, 4, 10],
      [0, 3, 10],
      [8, 12, 12],
      [14, 20, 12],
      [15, 16, 12],
      [12, 14, 20],
    ] as const) {
      await insertRange(first, next)
      expect(await storedEnds(store, log, 1)).toEqual([end])
      await store.command('OPTIMIZE TABLE ingest_ranges FINAL')
      expect(await storedEnds(store, log, 1)).toEqual([end])
    }
  })

  test('is right for any order and repetition of inserts', async () => {
    const offsets = fc.array(fc.nat(8), { minLength: 1, maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(offsets, offsets, async (a, b) => {
        log = `log-${made++}`
        // Offset 0 comes first: a log is read from its beginning.
        await insert(0, 0, ...a)
        await insert(0, ...b)
        const all = new Set([0, ...a, ...b])
        let end = 0
        while (all.has(end)) end++
        expect(await storedEnds(store, log, 1)).toEqual([end])
      }),
      { numRuns: 8 },
    )
  })
})

/** A request that was given up may still be on its way when the records are sent again. */
test('the bytes of an insert that failed are left alone; those of one that is done are used again', async () => {
  const files: { buffer: Buffer; copy: Buffer }[] = []
  let fails = true
  const keeping: ClickHouseStore = {
    ...store,
    insertAvro: async (file, ...rest) => {
      files.push({ buffer: file, copy: Buffer.from(file) })
      if (fails) throw new Error('given up')
      await store.insertAvro(file, ...rest)
    },
  }
  const insert = (id: string) => insertRecords(keeping, log, [logRow([usageEvent(id, { tenant: 8_000_000 })])])
  await insertRecords(store, log, [logRow([usageEvent('first', { tenant: 8_000_000 })])])
  await expect(insert('a')).rejects.toThrow('given up')
  fails = false
  for (const id of ['b', 'c']) await insert(id)
  expect(files[0]!.buffer.equals(files[0]!.copy)).toBe(true)
  expect(files[2]!.buffer.buffer).toBe(files[1]!.buffer.buffer)
  const rows = await store.query<{ id: string }>('SELECT id FROM events WHERE tenant = 8000000 ORDER BY id')
  expect(rows.map(({ id }) => id)).toEqual(['b', 'c', 'first'])
})

describe('an event in the store', () => {
  test('is what the record held, in every field', async () => {
    const event = usageEvent("id'\\\n😀", {
      tenant: 4_000_000 + made,
      source: 'ü',
      subject: '',
      type: 't'.repeat(128),
      timeMs: Date.UTC(2020, 1, 29, 23, 59, 59, 999),
      timeGiven: false,
      data: { text: 'é"\\', n: 1 },
    })
    await insertRecords(store, log, [logRow([event], { knownAtMs: NOVEMBER_20 + 5, offset: 9 })])
    const [row] = await store.query(
      `SELECT toString(shard) AS shard, source, id, toString(type) AS type, subject, data, time_given,
         toString(toUnixTimestamp64Milli(time)) AS time_ms, toString(toUnixTimestamp64Milli(known_at)) AS known_at_ms
       FROM events WHERE tenant = {tenant:UInt32}`,
      { tenant: event.tenant },
    )
    expect(row).toEqual({
      shard: String(event.shard),
      source: event.source,
      id: event.id,
      type: event.type,
      subject: event.subject,
      data: event.data,
      time_given: false,
      time_ms: String(event.timeMs),
      known_at_ms: String(NOVEMBER_20 + 5),
    })
  })

  test('of copies the first in the order of the log counts, whichever was stored first (invariant 5)', async () => {
    const places = [
      { knownAtMs: NOVEMBER_20 + 1, partition: 0, offset: 0 },
      { knownAtMs: NOVEMBER_20 + 1, partition: 0, offset: 1 },
      { knownAtMs: NOVEMBER_20 + 1, partition: 1, offset: 0 },
      { knownAtMs: NOVEMBER_20 + 2, partition: 0, offset: 2 },
    ]
    const order = fc.shuffledSubarray(places, { minLength: 2 })
    await fc.assert(
      fc.asyncProperty(order, async (stored) => {
        log = `log-${made++}`
        const tenant = 5_000_000 + made
        for (const place of stored) {
          const subject = `${place.knownAtMs - NOVEMBER_20}/${place.partition}/${place.offset}`
          await insertRecords(store, log, [logRow([usageEvent('a', { tenant, subject })], place)])
        }
        const [counted] = await store.query<{ subject: string }>(
          'SELECT argMax(subject, version) AS subject FROM events WHERE tenant = {tenant:UInt32}',
          { tenant },
        )
        const first = places.find((place) => stored.includes(place))!
        expect(counted?.subject).toBe(`${first.knownAtMs - NOVEMBER_20}/${first.partition}/${first.offset}`)
      }),
      { numRuns: 8 },
    )
  })

  test('of copies within one record the first counts', async () => {
    const tenant = 6_000_000
    const copies = ['first', 'second', 'third'].map((subject) => usageEvent('a', { tenant, subject }))
    await insertRecords(store, log, [logRow(copies)])
    const [counted] = await store.query<{ subject: string }>(
      'SELECT argMax(subject, version) AS subject FROM events WHERE tenant = {tenant:UInt32}',
      { tenant },
    )
    expect(counted?.subject).toBe('first')
  })

  test('marks its shard with how far the log reached it, by the hour it became known', async () => {
    const tenant = 7_000_000
    const rows = [0, 1, 2].map((offset) =>
      logRow([usageEvent('a', { tenant }), usageEvent('b', { tenant })], {
        offset,
        knownAtMs: NOVEMBER_20 + offset * 1_800_000,
      }),
    )
    await insertRecords(store, log, rows)
    const marks = await store.query(
      `SELECT toString(known_hour) AS hour, toString(max(next_offset)) AS next, uniqExact(shard) AS shards
       FROM shard_changes WHERE tenant = {tenant:UInt32} AND log = {log:String} GROUP BY known_hour ORDER BY known_hour`,
      { tenant, log },
    )
    expect(marks).toEqual([
      { hour: '2026-11-20 12:00:00', next: '2', shards: expect.anything() },
      { hour: '2026-11-20 13:00:00', next: '3', shards: expect.anything() },
    ])
  })
})
