import { expect, test } from 'vitest'
import type { Terms } from '../../../../invoicer/agreements/subscriptions/subscription.ts'
import { watchedPeriods } from '../../../../invoicer/billing/budgets/watched-periods.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'

const HOUR_MS = 3_600_000
const terms: Terms = { startMs: NOVEMBER, endMs: null, interval: 'month', every: 1, alignment: 'calendar', zone: 'UTC' }
const next = { startMs: NOVEMBER, endMs: DECEMBER }
const starts = (nowMs: number, change: Partial<Terms> = {}, graceMs = HOUR_MS, stored: typeof next | null = next) =>
  watchedPeriods({ terms: { ...terms, ...change }, next: stored, graceMs }, nowMs).map(({ startMs }) => startMs)

test('the running period is watched, and the one before it until its grace is over', () => {
  expect(starts(NOVEMBER - 1)).toEqual([])
  expect(starts(NOVEMBER)).toEqual([NOVEMBER])
  expect(starts(DECEMBER - 1)).toEqual([NOVEMBER])
  expect(starts(DECEMBER)).toEqual([NOVEMBER, DECEMBER])
  expect(starts(DECEMBER + HOUR_MS - 1)).toEqual([NOVEMBER, DECEMBER])
  expect(starts(DECEMBER + HOUR_MS)).toEqual([DECEMBER])
})

/** What was spent in the last minute of a period would never be looked at: the next look is in the next one. */
test('without grace the one before is watched for five minutes, also when it has its invoice', () => {
  expect(starts(DECEMBER + 299_999, {}, 0)).toEqual([NOVEMBER, DECEMBER])
  expect(starts(DECEMBER + 299_999, {}, 0, { startMs: DECEMBER, endMs: JANUARY })).toEqual([NOVEMBER, DECEMBER])
  expect(starts(DECEMBER + 300_000, {}, 0)).toEqual([DECEMBER])
})

test('the last period of an ended contract is watched until its grace is over, then nothing', () => {
  expect(starts(DECEMBER, { endMs: DECEMBER })).toEqual([NOVEMBER])
  expect(starts(DECEMBER, { endMs: DECEMBER }, HOUR_MS, null)).toEqual([NOVEMBER])
  expect(starts(DECEMBER + HOUR_MS, { endMs: DECEMBER })).toEqual([])
  expect(starts(NOVEMBER, { endMs: NOVEMBER })).toEqual([])
})
