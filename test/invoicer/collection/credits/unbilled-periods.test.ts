import { expect, test } from 'vitest'
import type { Terms } from '../../../../invoicer/agreements/subscriptions/subscription.ts'
import { duePeriods } from '../../../../invoicer/billing/due.ts'
import { unbilledPeriods } from '../../../../invoicer/collection/credits/unbilled-periods.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'

const DAY_MS = 86_400_000
const terms: Terms = { startMs: NOVEMBER, endMs: null, interval: 'month', every: 1, alignment: 'calendar', zone: 'UTC' }
const next = { startMs: NOVEMBER, endMs: DECEMBER }
const starts = (nowMs: number, change: Partial<Terms> = {}, stored: typeof next | null = next) =>
  unbilledPeriods({ terms: { ...terms, ...change }, next: stored }, nowMs).map(({ startMs }) => startMs)

test('every period that has begun and has no invoice counts, the running one too', () => {
  expect(starts(NOVEMBER - 1)).toEqual([])
  expect(starts(NOVEMBER)).toEqual([NOVEMBER])
  expect(starts(DECEMBER - 1)).toEqual([NOVEMBER])
  expect(starts(DECEMBER)).toEqual([NOVEMBER, DECEMBER])
  expect(starts(JANUARY + 40 * DAY_MS)).toHaveLength(4)
  expect(starts(JANUARY, {}, { startMs: DECEMBER, endMs: JANUARY })).toEqual([DECEMBER, JANUARY])
})

test('a contract that has ended counts to its end, until it has its last invoice', () => {
  expect(starts(JANUARY, { endMs: DECEMBER })).toEqual([NOVEMBER])
  expect(starts(JANUARY, { endMs: DECEMBER }, null)).toEqual([])
})

/** Grace is 30 days at most. */
test('a plan billed by the day counts whole within the longest grace', () => {
  const daily = { interval: 'day' } as const
  const counted = starts(NOVEMBER + 31.5 * DAY_MS, daily, { startMs: NOVEMBER, endMs: NOVEMBER + DAY_MS })
  expect(counted).toEqual(Array.from({ length: 32 }, (_, day) => NOVEMBER + day * DAY_MS))
})

test('the boundaries are those by which a run bills', () => {
  const cut = { startMs: NOVEMBER + DAY_MS, endMs: DECEMBER }
  const { periods } = duePeriods(terms, cut, 0, JANUARY, 9)
  expect(unbilledPeriods({ terms, next: cut }, JANUARY).slice(0, 2)).toEqual(periods)
})
