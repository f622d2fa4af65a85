import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { insertRecords } from '../../aggregator/pump/insert.clickhouse.ts'
import { migrateClickHouse } from '../../ops/migrate/migrate.clickhouse.ts'
import { type ClickHouseStore, isDataError } from '../../schemas/clickhouse/store.ts'
import { storedEnds } from '../../schemas/clickhouse/stored-ends.clickhouse.ts'
import { encodeBatch, encodeLogRows, type LogRow } from '../../schemas/event/usage-batch.avro.ts'
import { encodeEvent } from '../../schemas/event/usage-event.ts'
import type { TenantId } from '../../schemas/http/door.ts'

const TIME_MS = 1_753_000_000_123
const NASTY = [
  "it's",
  'back\\slash',
  'tab\there',
  'line\nbreak',
  'return\r',
  '"double"',
  '{tenant:UInt32}',
  'ÄÖ€😀',
  '',
  '\\N',
  "\\'",
  ']',
  "','",
]

/** What every ClickHouseStore promises, whichever engine is behind it. */
export function clickHouseStoreContract(name: string, open: () => Promise<ClickHouseStore>): void {
  describe(`ClickHouseStore on ${name}`, () => {
    let store: ClickHouseStore

    beforeAll(async () => {
      store = await open()
      await migrateClickHouse(store)
      await store.command('CREATE TABLE things (n UInt64, label String) ENGINE = MergeTree ORDER BY n')
    })
    afterAll(() => store.close())

    test('migrating again does nothing', async () => {
      expect(await migrateClickHouse(store)).toEqual([])
    })

    test('it answers a ping', async () => {
      await store.ping()
    })

    test('rows come typed, wide numbers as text', async () => {
      const sql =
        "SELECT toUInt32(7) AS small, toString(toUInt64(18446744073709551615)) AS wide, 'x' AS word, true AS yes"
      expect(await store.query(sql)).toEqual([{ small: 7, wide: '18446744073709551615', word: 'x', yes: true }])
      expect(await store.query('SELECT 1 AS one WHERE 0')).toEqual([])
    })

    test.each(NASTY)('the text %j travels as a parameter and comes back', async (value) => {
      const rows = await store.query('SELECT {a:String} AS a, {b:Array(String)} AS b', {
        a: value,
        b: [value, 'x', value],
      })
      expect(rows).toEqual([{ a: value, b: [value, 'x', value] }])
    })

    test('numbers and arrays of numbers are parameters', async () => {
      const sql =
        'SELECT {a:Int64} = -5 AS a, arraySum({b:Array(UInt32)}) AS b, {c:Float64} AS c, length({d:Array(UInt64)}) AS d'
      expect(await store.query(sql, { a: -5, b: [1, 2, 3], c: 0.25, d: [] })).toEqual([{ a: 1, b: 6, c: 0.25, d: 0 }])
    })

    test('parameters may be far longer than an address line', async () => {
      const labels = Array.from({ length: 40_000 }, (_, index) => `subject-${index}-it's`)
      const [read] = await store.query<{ n: number; last: string }>(
        'SELECT toUInt32(length({labels:Array(String)})) AS n, {labels:Array(String)}[-1] AS last',
        { labels },
      )
      expect(read).toEqual({ n: 40_000, last: "subject-39999-it's" })
      await store.command('INSERT INTO things SELECT 1000000, {long:String}', { long: "ä'\\".repeat(400_000) })
      const [written] = await store.query<{ characters: number }>(
        'SELECT toUInt32(lengthUTF8(label)) AS characters FROM things WHERE n = 1000000',
      )
      expect(written?.characters).toBe(1_200_000)
    })

    test('a parameter that is not given is an error', async () => {
      await expect(store.query('SELECT {missing_one:String}')).rejects.toMatchObject({ code: '456' })
    })

    test('at once, no statement sees the parameters of another', async () => {
      const values = Array.from({ length: 60 }, (_, index) => index)
      const rows = await Promise.all(
        values.map((value) =>
          store.query('SELECT {value:UInt32} AS value, {text:String} AS text', { value, text: `t${value}` }),
        ),
      )
      expect(rows.flat()).toEqual(values.map((value) => ({ value, text: `t${value}` })))
    })

    test('errors carry the code of ClickHouse', async () => {
      await expect(store.query('SELEKT 1')).rejects.toMatchObject({ code: '62' })
      await expect(store.query('SELECT * FROM nowhere')).rejects.toMatchObject({ code: '60', type: 'UNKNOWN_TABLE' })
      await expect(store.command('INSERT INTO nowhere SELECT 1')).rejects.toMatchObject({ code: '60' })
      const error = await store.query('SELECT * FROM nowhere').catch((thrown: unknown) => thrown)
      expect(isDataError(error)).toBe(false)
    })

    test('an error in the middle of a long answer fails the whole query, and nothing of it is in the next', async () => {
      const sql = 'SELECT number, throwIf(number = 900000) AS fine FROM numbers(1000000)'
      for (let round = 0; round < 3; round++) {
        await expect(store.query(sql)).rejects.toMatchObject({ code: '395' })
        const answers = await Promise.all(Array.from({ length: 10 }, () => store.query('SELECT 1 AS one')))
        expect(answers.map((rows) => rows.length)).toEqual(answers.map(() => 1))
      }
    })

    test('long answers come whole', async () => {
      const rows = await store.query<{ n: string; label: string }>(
        "SELECT toString(number) AS n, repeat('x', 50) AS label FROM numbers(300000)",
      )
      expect(rows).toHaveLength(300_000)
      expect(rows.at(-1)).toEqual({ n: '299999', label: 'x'.repeat(50) })
    })

    test('a command is done when it resolves', async () => {
      for (let n = 0; n < 20; n++) {
        await store.command('INSERT INTO things SELECT {n:UInt64}, {label:String}', { n, label: `thing ${n}` })
        expect(await store.query('SELECT label FROM things WHERE n = {n:UInt64}', { n })).toEqual([
          { label: `thing ${n}` },
        ])
      }
    })

    describe('an Avro file', () => {
      test('of log records becomes events, marks and ranges', async () => {
        await insertRecords(store, 'log-a', [record(0, 7, ['e1', 'e2']), record(0, 8, ['e3'])])
        const events = await store.query(
          `SELECT id, subject, toString(shard) AS shard, toString(toUnixTimestamp64Milli(time)) AS time,
             toString(toUnixTimestamp64Milli(known_at)) AS known_at, time_given, data, toString(version) AS version
           FROM events WHERE tenant = 71 ORDER BY id`,
        )
        const known = {
          known_at: String(TIME_MS + 1_000),
          time: String(TIME_MS),
          time_given: true,
          shard: '4503599627370496',
        }
        expect(events).toEqual([
          { id: 'e1', subject: 'ÄÖ€😀', data: '{"n":"e1"}', version: versionOf(0, 7, 1), ...known },
          { id: 'e2', subject: 'ÄÖ€😀', data: '{"n":"e2"}', version: versionOf(0, 7, 2), ...known },
          { id: 'e3', subject: 'ÄÖ€😀', data: '{"n":"e3"}', version: versionOf(0, 8, 1), ...known },
        ])
        await insertRecords(store, 'log-a', [record(1, 0, ['f1'])])
        expect(await storedEnds(store, 'log-a', 2)).toEqual([9, 1])
        const ranges = await store.query(
          "SELECT partition, toUInt32(sum(events)) AS stored FROM ingest_ranges WHERE log = 'log-a' GROUP BY partition ORDER BY 1",
        )
        expect(ranges).toEqual([
          { partition: 0, stored: 3 },
          { partition: 1, stored: 1 },
        ])
      })

      test('keeps every byte', async () => {
        // As Avro strings hold UTF-8, all bytes are in the lengths, numbers and texts of many records.
        const ids = Array.from({ length: 2_000 }, (_, index) => `${String.fromCodePoint(index + 1)}\u0000\r\n${index}`)
        await insertRecords(store, 'log-b', [record(0, 300, ids, 72)])
        const rows = await store.query<{ id: string }>('SELECT id FROM events WHERE tenant = 72')
        expect(rows.map((row) => row.id).sort()).toEqual([...ids].sort())
      })

      test('of some megabytes is stored whole', async () => {
        const ids = Array.from({ length: 500 }, (_, index) => `id-${index}`)
        const rows = Array.from({ length: 100 }, (_, offset) =>
          record(
            0,
            offset,
            ids.map((id) => `${offset}-${id}`),
            73,
          ),
        )
        await insertRecords(store, 'log-c', rows)
        expect(await store.query('SELECT toUInt32(count()) AS rows FROM events WHERE tenant = 73')).toEqual([
          { rows: 50_000 },
        ])
        expect(await storedEnds(store, 'log-c', 1)).toEqual([100])
      })

      test('goes through its statements in order, with parameters', async () => {
        const file = encodeLogRows([record(0, 41, ['x'])])
        const insert = (label: string) => (source: string) =>
          `INSERT INTO things SELECT offset + {add:UInt64}, '${label}' || {end:String} FROM ${source}`
        await store.insertAvro(file, [insert('first'), insert('second')], { add: 500, end: "'s" })
        const rows = await store.query('SELECT label FROM things WHERE n = 541 ORDER BY label')
        expect(rows).toEqual([{ label: "first's" }, { label: "second's" }])
      })

      test('stops at the first statement that fails', async () => {
        const file = encodeLogRows([record(0, 42, ['x'])])
        const good = (source: string) => `INSERT INTO things SELECT offset + 600, 'good' FROM ${source}`
        const bad = (source: string) => `INSERT INTO nowhere SELECT offset FROM ${source}`
        const error = await store.insertAvro(file, [good, bad, good]).catch((thrown: unknown) => thrown)
        expect(error).toMatchObject({ code: '60' })
        expect(isDataError(error)).toBe(false)
        expect(await store.query('SELECT toUInt32(count()) AS rows FROM things WHERE n = 642')).toEqual([{ rows: 1 }])
      })

      test.each([
        [
          'a record of other bytes',
          encodeLogRows([{ ...record(0, 1, ['x'], 74), batch: Buffer.from('deadbeefdeadbeefff', 'hex') }]),
        ],
        ['a file that is cut off', encodeLogRows([record(0, 1, ['x'], 74)]).subarray(0, -40)],
        [
          'a text that never ends',
          encodeLogRows([{ ...record(0, 1, ['x'], 74), batch: Buffer.from('0202010002fffffffffffffff7', 'hex') }]),
        ],
      ])('with %s is an error of the data, and nothing is stored', async (_, file) => {
        const insert = (source: string) =>
          `INSERT INTO things SELECT 700, toString(length(tupleElement(batch, 'events'))) FROM ${source}`
        const error = await store.insertAvro(file, [insert]).catch((thrown: unknown) => thrown)
        expect(error).toBeInstanceOf(Error)
        expect(isDataError(error)).toBe(true)
        expect(await store.query('SELECT toUInt32(count()) AS rows FROM things WHERE n = 700')).toEqual([{ rows: 0 }])
      })
    })

    test('many writers and readers at once', async () => {
      const work = Array.from({ length: 24 }, async (_, index) => {
        const offset = 1_000 + index
        await insertRecords(store, 'log-d', [record(3, offset, [`c${index}`], 75)])
        const [row] = await store.query<{ rows: number }>(
          'SELECT toUInt32(count()) AS rows FROM ingest_ranges WHERE log = {log:String} AND first_offset = {offset:UInt64}',
          { log: 'log-d', offset },
        )
        return row?.rows
      })
      expect(await Promise.all(work)).toEqual(Array.from({ length: 24 }, () => 1))
      expect(await store.query('SELECT toUInt32(count()) AS rows FROM events WHERE tenant = 75')).toEqual([
        { rows: 24 },
      ])
    })
  })
}

function record(partition: number, offset: number, ids: string[], tenant = 71): LogRow {
  const events = ids.map((id) =>
    encodeEvent({
      tenant: tenant as TenantId,
      source: 'contract',
      id,
      shard: 2 ** 52,
      type: 'call',
      subject: 'ÄÖ€😀',
      timeMs: TIME_MS,
      timeGiven: true,
      data: JSON.stringify({ n: id }),
    }),
  )
  return { knownAtMs: TIME_MS + 1_000, partition, offset, batch: encodeBatch(events) }
}

function versionOf(partition: number, offset: number, index: number): string {
  const place = (BigInt(TIME_MS + 1_000) << 84n) + (BigInt(partition) << 64n) + (BigInt(offset) << 20n) + BigInt(index)
  return String(2n ** 128n - 1n - place)
}
