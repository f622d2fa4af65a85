import fc from 'fast-check'
import { expect, test } from 'vitest'
import { rowId } from '../../../../ops/cli/import/row-id.ts'
import { idTimeMs, shardOf } from '../../../../schemas/event/identity.ts'

const HOUR_MS = 3_600_000
const time = fc.integer({ min: Date.UTC(2020, 0, 1), max: Date.UTC(2100, 0, 1) - 1 })
const text = fc.string({ minLength: 1 })

test('the same file, row and time have the same id; another row or file has another', () => {
  fc.assert(
    fc.property(
      text,
      text,
      fc.nat(),
      fc.nat(),
      fc.option(time, { nil: undefined }),
      (file, other, row, next, timeMs) => {
        const id = rowId(file, row, timeMs)
        expect(rowId(file, row, timeMs)).toBe(id)
        if (next !== row) expect(rowId(file, next, timeMs)).not.toBe(id)
        if (other !== file) expect(rowId(other, row, timeMs)).not.toBe(id)
      },
    ),
  )
})

test('a UUIDv7 of the row’s hour, so that sparse rows share shards', () => {
  fc.assert(
    fc.property(text, fc.nat(), time, (file, row, timeMs) => {
      expect(idTimeMs(rowId(file, row, timeMs))).toBe(Math.floor(timeMs / HOUR_MS) * HOUR_MS)
    }),
  )
  const year = Array.from({ length: 20_000 }, (_, row) => rowId('file', row, Date.UTC(2025, 0, 1) + row * 1_570_000))
  expect(new Set(year).size).toBe(20_000)
  const shards = new Set(year.map((id) => shardOf({ tenant: 1, source: 's', id })))
  expect(shards.size).toBeLessThanOrEqual(366 * 24)
})

test.each([undefined, Date.UTC(2019, 11, 31), Date.UTC(2100, 0, 1), -1])('a UUIDv8 for the time %s', (timeMs) => {
  const id = rowId('file', 1, timeMs)
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(idTimeMs(id)).toBeUndefined()
})

/** What is in files already imported counts again the day this changes. */
test('ids never change between versions', () => {
  expect(rowId('file', 1, Date.UTC(2025, 2, 1, 12, 34))).toBe('01955193-de00-78e3-a594-18dc434326af')
  expect(rowId('file', 1, undefined)).toBe('9873aa58-f3aa-88e3-a594-18dc434326af')
})
