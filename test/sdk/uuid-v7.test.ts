import { describe, expect, test } from 'vitest'
import { createUuidV7, systemRandom } from '../../sdk/typescript/src/uuid-v7.ts'

const LAYOUT = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const MS = Date.UTC(2026, 10, 21, 12)

function timeOf(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}

/** Issue 6: ids are set at emission. RFC 9562, section 5.7 and method 1 of 6.2. */
describe('ids are UUIDv7', () => {
  test('the layout, and the time of emission', () => {
    const next = createUuidV7(() => MS, systemRandom)
    const id = next()
    expect(id).toMatch(LAYOUT)
    expect(timeOf(id)).toBe(MS)
  })

  test('a hundred thousand of one millisecond differ and grow', () => {
    const next = createUuidV7(() => MS, systemRandom)
    const ids = Array.from({ length: 100_000 }, () => next())
    expect(new Set(ids).size).toBe(ids.length)
    expect([...ids].sort()).toEqual(ids)
    expect(ids.every((id) => LAYOUT.test(id) && timeOf(id) === MS)).toBe(true)
  })

  test('they grow over milliseconds and over a clock that is set back a little', () => {
    const times = [MS, MS + 1, MS - 9_000, MS + 1, MS + 2]
    const ids = times
      .map((ms) => ({ ms }))
      .map(
        (
          (next) =>
          ({ ms }) =>
            next(ms)
        )(createUuidV7(() => MS, systemRandom)),
      )
    expect([...ids].sort()).toEqual(ids)
  })

  test('a clock that ran far ahead and was corrected is followed', () => {
    const next = createUuidV7(() => MS, systemRandom)
    next(MS + 86_400_000)
    expect(timeOf(next(MS))).toBe(MS)
  })

  test('the largest and the smallest random numbers', () => {
    const largest = createUuidV7(
      () => MS,
      (bytes) => bytes.fill(255),
    )
    const smallest = createUuidV7(
      () => MS,
      (bytes) => bytes.fill(0),
    )
    expect(largest().slice(14)).toBe('77ff-bfff-ffffffffffff')
    expect(largest().slice(14)).toBe('7800-8000-ffffffffffff')
    expect(smallest().slice(14)).toBe('7000-8000-000000000000')
    expect(smallest().slice(14)).toBe('7000-8001-000000000000')
  })

  test('random numbers kept for long are not used: a process may have been copied with them', () => {
    let drawn = 0
    const next = createUuidV7(
      () => MS,
      (bytes) => {
        drawn++
        systemRandom(bytes)
      },
    )
    next(MS)
    next(MS + 900)
    expect(drawn).toBe(1)
    next(MS + 5_000)
    expect(drawn).toBe(2)
  })
})
