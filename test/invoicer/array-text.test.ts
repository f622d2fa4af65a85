import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { idArray, plainArray, textArray, timeArray } from '../../invoicer/array-text.ts'
import { createTestDatabase, type TestDatabase } from '../support/test-database.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

async function readBack<T>(type: string, text: string): Promise<T[]> {
  const { rows } = await database.pool.query<{ value: T }>(`SELECT unnest($1::${type}[]) AS value`, [text])
  return rows.map(({ value }) => value)
}

/** Columns carry names that customers chose: whatever a text holds, Postgres reads it as it was. */
test('texts come back as they were: quotes, backslashes, braces, commas, NULL as a word, nothing at all', async () => {
  // Postgres keeps no zero byte, and UTF-8 no half of a surrogate pair.
  const text = fc.string({
    unit: fc.constantFrom('"', '\\', '{', '}', ',', ' ', '\n', '\t', 'a', 'ä', '😀', 'NULL', "'"),
  })
  const texts = fc.array(fc.option(text))
  await fc.assert(
    fc.asyncProperty(texts, async (values) => {
      expect(await readBack('text', textArray(values))).toEqual(values)
    }),
  )
})

test('ids, numbers and times come back as they were, and what is missing as null', async () => {
  const [id, other] = ['0192f0c1-2e4b-7c3d-8a5e-6f7081920a1b', '0192f0c1-2e4b-7c3d-8a5e-6f7081920a1c']
  expect(await readBack('uuid', idArray([id, null, undefined, other]))).toEqual([id, null, null, other])
  expect(await readBack('bigint', plainArray([1n, -(2n ** 63n), 7]))).toEqual(['1', '-9223372036854775808', '7'])
  expect(await readBack('numeric', plainArray(['-0.000000000001', '6e25']))).toEqual([
    '-0.000000000001',
    '60000000000000000000000000',
  ])
  const timesMs = [Date.UTC(2000, 0, 1), Date.UTC(2099, 11, 31, 23, 59, 59, 999)]
  const times = await readBack<Date | null>('timestamptz', timeArray([...timesMs, null, undefined]))
  expect(times.map((time) => time?.getTime())).toEqual([...timesMs, undefined, undefined])
  expect(await readBack('uuid', idArray([]))).toEqual([])
})
