import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type ClickHouseStore, isDataError } from '../../schemas/clickhouse/store.ts'
import { encodeLogRows } from '../../schemas/event/usage-batch.avro.ts'
import { logRow, usageEvent } from '../support/log-events.ts'

const TRICKY = [
  "'",
  "''; DROP TABLE kept; --",
  '"',
  '\\',
  "\\'",
  'a\nb\r\n\tc',
  '{tenant:UInt32}',
  '{{x}}',
  '?',
  '$1',
  '/* */ -- #',
  'é😀',
  '\u0000',
  '',
  ' ',
  'NULL',
  '\\N',
  '[1,2]',
  "['a', 'b']",
]

/** What every adapter of ClickHouse promises to the roles. */
export function describeUsageStore(name: string, open: () => Promise<ClickHouseStore>): void {
  describe(`usage store: ${name}`, () => {
    let store: ClickHouseStore

    beforeAll(async () => {
      store = await open()
      await store.command('CREATE TABLE kept (n UInt64, text String) ENGINE = MergeTree ORDER BY n')
    })
    afterAll(() => store.close())
    beforeEach(() => store.command('TRUNCATE TABLE kept'))

    const kept = async () =>
      (await store.query<{ text: string }>('SELECT text FROM kept ORDER BY n, text')).map(({ text }) => text)
    const failureOf = async (work: Promise<unknown>): Promise<{ code?: unknown; message: string }> => {
      const failure = await work.then(
        () => undefined,
        (error: { code?: unknown; message: string }) => error,
      )
      if (!failure) throw new Error('it did not fail')
      return failure
    }

    describeParameters(() => store, kept)

    test('an error carries the code of ClickHouse, and the store goes on', async () => {
      expect(Number((await failureOf(store.query('SELECT * FROM nowhere'))).code)).toBe(60)
      expect(Number((await failureOf(store.command('SELEKT 1'))).code)).toBe(62)
      expect(Number((await failureOf(store.command('SELECT throwIf(1)'))).code)).toBe(395)
      await store.ping()
      expect(await store.query('SELECT 1 AS one')).toEqual([{ one: 1 }])
    })

    test('an error in the middle of a long answer fails the whole query, and nothing of it is in the next', async () => {
      // chDB put the rows that the failed statement had made before the next answer of its connection.
      const sql = 'SELECT number, throwIf(number = 900000) AS fine FROM numbers(1000000)'
      for (let round = 0; round < 3; round++) {
        await expect(store.query(sql)).rejects.toMatchObject({ code: '395' })
        const answers = await Promise.all(Array.from({ length: 10 }, () => store.query('SELECT 1 AS one')))
        expect(answers).toEqual(answers.map(() => [{ one: 1 }]))
      }
    })

    test('64-bit and wider numbers come back exactly as text', async () => {
      const [row] = await store.query<{ wide: string; decimal: string }>(
        `SELECT toString(toUInt128('340282366920938463463374607431768211455')) AS wide,
           toString(toDecimal128('12345678901234567890123456.000000000001', 12)) AS decimal`,
      )
      expect(row).toEqual({
        wide: '340282366920938463463374607431768211455',
        decimal: '12345678901234567890123456.000000000001',
      })
    })

    test('many statements at once all get their own answer', async () => {
      const answers = await Promise.all(
        Array.from({ length: 40 }, (_, n) =>
          n % 3 === 0
            ? store.command('INSERT INTO kept SELECT {n:UInt64}, {t:String}', { n, t: `w${n}` }).then(() => n)
            : store
                .query<{ n: number }>('SELECT {n:UInt32} AS n FROM numbers(1 + {n:UInt32} * 1000) LIMIT 1', { n })
                .then(([row]) => row?.n),
        ),
      )
      expect(answers).toEqual(Array.from({ length: 40 }, (_, n) => n))
      expect(await kept()).toHaveLength(14)
    })

    const file = encodeLogRows([logRow([usageEvent('a'), usageEvent('b')], { offset: 5 }), logRow([usageEvent('c')])])
    const insert = (n: number) => (source: string) =>
      `INSERT INTO kept SELECT ${n}, event.id FROM (SELECT tupleElement(batch, 'events') AS events FROM ${source})
       ARRAY JOIN events AS event`

    test('statements over an Avro file run in order, with their parameters', async () => {
      await store.insertAvro(
        file,
        [
          insert(1),
          (source) => `INSERT INTO kept SELECT 2, {log:String} || toString(offset) FROM ${source} ORDER BY offset`,
          () => 'INSERT INTO kept SELECT 3, toString(count()) FROM kept',
        ],
        { log: "the 'log' " },
      )
      expect(await kept()).toEqual(['a', 'b', 'c', "the 'log' 0", "the 'log' 5", '5'])
    })

    test('an error in one of them stops the rest, and says that the store is well', async () => {
      const failing = () => 'INSERT INTO kept SELECT throwIf(1), {x:String}'
      const failure = await failureOf(store.insertAvro(file, [insert(1), failing, insert(3)], { x: '' }))
      expect(Number(failure.code)).toBe(395)
      expect(await kept()).toEqual(['a', 'b', 'c'])
    })

    test('a batch that is no Avro is an error of the data', async () => {
      const good = logRow([usageEvent('a')])
      const broken = [
        Buffer.alloc(0),
        Buffer.from('no Avro at all'),
        good.batch.subarray(0, 9),
        Buffer.from('ffffffffffffffffffffffff', 'hex'),
        // Five bytes that promise a string of 2^33.
        Buffer.from('0202028080808040', 'hex'),
      ]
      for (const batch of broken) {
        const failure = await failureOf(store.insertAvro(encodeLogRows([{ ...good, batch }]), [insert(1)]))
        expect(isDataError(failure), failure.message).toBe(true)
      }
    })

    test('trouble of the store, of the statement or of the way to it is none', async () => {
      for (const sql of ['INSERT INTO nowhere SELECT 1', 'SELEKT 1'])
        expect(isDataError(await failureOf(store.command(sql)))).toBe(false)
      for (const error of [new Error('x'), Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), undefined, 'x'])
        expect(isDataError(error)).toBe(false)
    })
  })
}

function describeParameters(store: () => ClickHouseStore, kept: () => Promise<string[]>): void {
  const echo = async (text: string) =>
    (await store().query<{ text: string }>('SELECT {text:String} AS text', { text }))[0]?.text
  const echoAll = async (texts: readonly string[]) =>
    (await store().query<{ texts: string[] }>('SELECT {texts:Array(String)} AS texts', { texts }))[0]?.texts

  test.each(TRICKY)('a parameter is data, whatever it holds: %j', async (text) => {
    expect(await echo(text)).toBe(text)
    expect(await echoAll([text, 'x', text])).toEqual([text, 'x', text])
    await store().command('INSERT INTO kept SELECT {n:UInt64}, {text:String}', { n: 1, text })
    expect(await kept()).toEqual([text])
    const found = await store().query('SELECT n FROM kept WHERE text IN {texts:Array(String)}', { texts: [text] })
    expect(found).toHaveLength(1)
  })

  test('every text and list of texts comes back as it was given', async () => {
    const text = fc.string({ unit: 'grapheme', maxLength: 20 })
    await fc.assert(
      fc.asyncProperty(fc.array(text, { maxLength: 5 }), async (texts) => {
        expect(await echoAll(texts)).toEqual(texts)
        expect(await echo(texts.join())).toBe(texts.join())
      }),
      { numRuns: 60 },
    )
  })

  test('numbers and lists of numbers, up to what JavaScript holds exactly', async () => {
    const numbers = [0, 1, 2 ** 48 + 5, Number.MAX_SAFE_INTEGER]
    const [row] = await store().query<{ texts: string[]; sum: string; none: unknown[] }>(
      `SELECT arrayMap(n -> toString(n), {numbers:Array(UInt64)}) AS texts, toString({one:Int64}) AS sum,
         {none:Array(UInt64)} AS none`,
      { numbers, one: -5, none: [] },
    )
    expect(row).toEqual({ texts: numbers.map(String), sum: '-5', none: [] })
  })

  test('parameters of one statement do not reach the next', async () => {
    await store().query('SELECT {leftover:String} AS text', { leftover: 'x' })
    await expect(store().query('SELECT {leftover:String} AS text')).rejects.toThrow(/leftover/)
  })
}
