import { expect, test } from 'vitest'
import { shortcomings, suiteOf } from './support/totals.ts'

const all = (passed: number, other = 0) => ({ passed, failed: 0, other })

test('a test file belongs to the suite named by its folder', () => {
  expect(suiteOf('test/ingest/accept/body.test.ts')).toBe('ingest')
  expect(suiteOf('test/tidy.test.ts')).toBe('house')
})

test('a suite with fewer tests than stated is named', () => {
  expect(shortcomings(new Map([['ingest', all(9)]]), { ingest: 10 })).toEqual([
    'suite ingest: 9 tests passed, at least 10 are stated',
  ])
  expect(shortcomings(new Map(), { ingest: 10 })).toHaveLength(1)
})

test('a skipped test and a suite without a stated minimum are named', () => {
  const found = shortcomings(
    new Map([
      ['ingest', all(10, 1)],
      ['sim', all(3)],
    ]),
    { ingest: 10 },
  )
  expect(found).toEqual(['suite ingest: 1 tests did not run', 'suite sim: no minimum in test/minimums.json'])
})
