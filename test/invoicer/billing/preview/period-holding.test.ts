import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { firstPeriodFrom } from '../../../../invoicer/agreements/subscriptions/periods.ts'
import type { Terms } from '../../../../invoicer/agreements/subscriptions/subscription.ts'
import { duePeriods } from '../../../../invoicer/billing/due.ts'
import { periodHolding, usageUntil } from '../../../../invoicer/billing/preview/period-holding.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
const terms: Terms = { startMs: NOVEMBER, endMs: null, interval: 'month', every: 1, alignment: 'calendar', zone: 'UTC' }
const november = { startMs: NOVEMBER, endMs: DECEMBER }

describe('the period that holds an instant', () => {
  test('is none before the start and from the end on', () => {
    const ended = { terms: { ...terms, endMs: JANUARY }, next: november }
    const held = [NOVEMBER - 1, NOVEMBER, JANUARY - 1, JANUARY].map((atMs) => periodHolding(ended, atMs)?.startMs)
    expect(held).toEqual([undefined, NOVEMBER, DECEMBER, undefined])
  })

  test('is the one that a run would bill, wherever the run stands', () => {
    const subscription = fc.record({
      startMs: fc.integer({ min: 0, max: 500_000 }).map((minute) => NOVEMBER + minute * MINUTE_MS),
      length: fc.option(fc.integer({ min: 1, max: 900 })),
      interval: fc.constantFrom('day', 'week', 'month', 'year'),
      every: fc.integer({ min: 1, max: 3 }),
      alignment: fc.constantFrom('calendar', 'anniversary'),
      zone: fc.constantFrom('UTC', 'America/New_York', 'Pacific/Apia', 'Australia/Lord_Howe'),
    })
    fc.assert(
      fc.property(
        subscription,
        fc.nat({ max: 40 }),
        fc.nat({ max: 400 * 24 * 60 }),
        ({ length, ...rest }, billed, minute) => {
          const endMs = length === null ? null : rest.startMs + length * DAY_MS
          const of: Terms = { ...rest, endMs } as Terms
          const first = firstPeriodFrom(of, of.startMs)
          fc.pre(first !== undefined)
          const { periods, next } = duePeriods(of, first!, 0, Number.MAX_SAFE_INTEGER, billed + 1)
          const stored = billed === 0 ? periods[0] : next
          fc.pre(stored !== undefined)
          const atMs = stored!.startMs + minute * MINUTE_MS + 1
          const held = periodHolding({ terms: of, next: stored! }, atMs)
          const { periods: later, next: last } = duePeriods(of, stored!, 0, atMs, 10_000)
          expect(held).toEqual(endMs !== null && atMs >= endMs ? undefined : last)
          if (held) expect([...later, held].every(({ startMs }) => startMs <= atMs)).toBe(true)
        },
      ),
      { numRuns: 300 },
    )
  })

  test('starts where the stored one ended, though the calendar has changed since', () => {
    // The stored period was cut by an hour: the next run bills from there, and the preview says so.
    const next = { startMs: NOVEMBER, endMs: DECEMBER - 3_600_000 }
    expect(periodHolding({ terms, next }, DECEMBER - 1)).toMatchObject({ startMs: next.endMs, endMs: JANUARY })
    expect(periodHolding({ terms, next }, JANUARY)).toMatchObject({ startMs: JANUARY })
  })
})

test('usage of a period that goes on is read to the end of this minute, else all or nothing of it', () => {
  const period = { index: 0, ...november, wholeStartMs: NOVEMBER, wholeEndMs: DECEMBER }
  expect(usageUntil(period, NOVEMBER - 1)).toBe(NOVEMBER)
  expect(usageUntil(period, NOVEMBER)).toBe(NOVEMBER + MINUTE_MS)
  expect(usageUntil(period, NOVEMBER + MINUTE_MS - 1)).toBe(NOVEMBER + MINUTE_MS)
  expect(usageUntil(period, DECEMBER - 1)).toBe(DECEMBER)
  expect(usageUntil(period, JANUARY)).toBe(DECEMBER)
})
