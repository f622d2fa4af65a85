import { describe, expect, test } from 'vitest'
import {
  checkEffectiveFrom,
  defaultEffectiveFrom,
  faultOfDate,
} from '../../../../invoicer/agreements/plans/effective-from.ts'

/** Issue 7, decision 0034: when a version takes effect. */
const NOW = Date.UTC(2024, 1, 29, 12, 0, 30)
const MINUTE = Date.UTC(2024, 1, 29, 12)
const latest = (effectiveFromMs: number | null) => ({ version: 2, effectiveFromMs })

describe('a version without a date', () => {
  test.each<[string, number | null, number]>([
    ['now, where the latest was always in effect', null, MINUTE],
    ['now, where the latest is in effect', MINUTE - 60_000, MINUTE],
    ['with the latest, which a faster clock has just made', MINUTE + 120_000, MINUTE + 120_000],
    ['with the latest five minutes ahead', MINUTE + 300_000, MINUTE + 300_000],
    ['now, where the latest was scheduled for later', MINUTE + 360_000, MINUTE],
  ])('takes effect %s', (_, latestMs, expected) => {
    expect(defaultEffectiveFrom(latest(latestMs), NOW)).toBe(expected)
  })

  test('is refused where the latest is scheduled, and not where the clocks differ', () => {
    const errors = (aheadMs: number) => {
      const before = latest(MINUTE + aheadMs)
      return checkEffectiveFrom(before, defaultEffectiveFrom(before, NOW), NOW)
    }
    expect(errors(300_000)).toEqual([])
    expect(errors(360_000)).toMatchObject([
      { path: 'effective_from', message: expect.stringContaining('Version 2 takes effect at 2024-02-29T12:06') },
    ])
  })
})

test('a date lies neither in the past nor more than five years ahead', () => {
  expect(faultOfDate(MINUTE - 60_000, NOW)).toContain('in the past')
  expect(faultOfDate(MINUTE, NOW)).toBeUndefined()
  expect(faultOfDate(Date.UTC(2029, 1, 28, 12), NOW)).toBeUndefined()
  expect(faultOfDate(Date.UTC(2029, 2, 1, 12, 1), NOW)).toMatch(
    /more than 5 years ahead. A version cannot be taken back/,
  )
})
