import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { firstPeriodFrom } from '../../../invoicer/agreements/subscriptions/periods.ts'
import type { StoredPeriod, Terms } from '../../../invoicer/agreements/subscriptions/subscription.ts'
import { duePeriods } from '../../../invoicer/billing/due.ts'
import { INTERVALS } from '../../../schemas/time/period.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../support/world.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const monthly: Terms = {
  startMs: NOVEMBER,
  endMs: null,
  interval: 'month',
  every: 1,
  alignment: 'calendar',
  zone: 'UTC',
}
const storedFrom = (terms: Terms, fromMs: number) => firstPeriodFrom(terms, fromMs)!
const starts = (terms: Terms, fromMs: number, graceMs: number, asOfMs: number, limit = 100) =>
  duePeriods(terms, storedFrom(terms, fromMs), graceMs, asOfMs, limit).periods.map((period) =>
    new Date(period.startMs).toISOString().slice(0, 10),
  )

describe('the due periods of a subscription', () => {
  test('are those whose end and grace lie at or before as_of', () => {
    expect(starts(monthly, NOVEMBER, HOUR_MS, DECEMBER + HOUR_MS - 1)).toEqual([])
    expect(starts(monthly, NOVEMBER, HOUR_MS, DECEMBER + HOUR_MS)).toEqual(['2023-11-01'])
    expect(starts(monthly, NOVEMBER, 0, JANUARY)).toEqual(['2023-11-01', '2023-12-01'])
  })

  test('begin with the first one without an invoice', () => {
    expect(starts(monthly, DECEMBER, 0, JANUARY)).toEqual(['2023-12-01'])
    expect(starts(monthly, JANUARY, 0, JANUARY)).toEqual([])
  })

  test('end with the contract, which closes the last one early', () => {
    const terms = { ...monthly, endMs: DECEMBER + HOUR_MS }
    const due = duePeriods(terms, storedFrom(terms, NOVEMBER), 0, DECEMBER + HOUR_MS, 10)
    expect(due.periods.at(-1)).toMatchObject({ startMs: DECEMBER, endMs: DECEMBER + HOUR_MS, wholeEndMs: JANUARY })
    expect(due).toMatchObject({ next: undefined, more: false })
  })

  test('come in parts of at most a limit, with the one after them', () => {
    const due = duePeriods(monthly, storedFrom(monthly, NOVEMBER), 0, JANUARY, 1)
    expect(due).toMatchObject({ periods: [{ startMs: NOVEMBER }], next: { startMs: DECEMBER }, more: true })
  })

  test('of an anniversary on the 31st are counted from the start, not from one another', () => {
    const terms: Terms = { ...monthly, startMs: Date.UTC(2024, 0, 31), alignment: 'anniversary' }
    expect(starts(terms, terms.startMs, 0, Date.UTC(2024, 5, 1))).toEqual([
      '2024-01-31',
      '2024-02-29',
      '2024-03-31',
      '2024-04-30',
    ])
  })

  const berlin: Terms = { ...monthly, startMs: Date.UTC(2023, 8, 30, 22), zone: 'Europe/Berlin' }
  const [OCT, NOV, DEC] = [Date.UTC(2023, 8, 30, 22), Date.UTC(2023, 9, 31, 23), Date.UTC(2023, 10, 30, 23)]

  test('begin with the stored one, though the calendar has its start elsewhere now', () => {
    const stored = { startMs: NOV - HOUR_MS, endMs: DEC }
    const due = duePeriods(berlin, stored, 0, DEC, 10)
    expect(due.periods).toMatchObject([{ ...stored, wholeStartMs: stored.startMs, wholeEndMs: stored.endMs }])
    expect(due).toMatchObject({ next: { startMs: DEC }, mismatch: undefined })
  })

  test.each([-HOUR_MS, HOUR_MS])(
    'go no further in one run than the stored one, if the calendar has its end elsewhere now (%d ms)',
    (shift) => {
      const stored = { startMs: OCT, endMs: NOV + shift }
      const due = duePeriods(berlin, stored, 0, JANUARY, 10)
      expect(due.periods).toMatchObject([stored])
      expect(due.more).toBe(false)
      expect(due.mismatch).toContain('by the calendar of Europe/Berlin the next one starts at 2023-10-31T23:00:00.000Z')
      // Neither a gap nor an overlap, and no part that would be prorated.
      expect(due.next).toMatchObject({ startMs: NOV + shift, endMs: DEC, wholeStartMs: NOV + shift, wholeEndMs: DEC })
      const after = duePeriods(berlin, due.next!, 0, JANUARY, 10)
      expect(after.periods[0]).toEqual(due.next)
      expect(after.mismatch).toBeUndefined()
    },
  )

  test('end with the contract, though the calendar has a boundary just before it now', () => {
    const terms = { ...berlin, endMs: NOV + HOUR_MS }
    const due = duePeriods(terms, { startMs: OCT, endMs: NOV + HOUR_MS }, 0, JANUARY, 10)
    expect(due.periods).toMatchObject([{ startMs: OCT, endMs: NOV + HOUR_MS }])
    expect(due).toMatchObject({ next: undefined, more: false, mismatch: undefined })
  })

  const anyTerms = fc.record({
    startMs: fc.integer({ min: 0, max: 5_000_000 }).map((minutes) => Date.UTC(2020, 0, 1) + minutes * MINUTE_MS),
    endMs: fc.constant(null),
    interval: fc.constantFrom(...INTERVALS),
    every: fc.integer({ min: 1, max: 5 }),
    alignment: fc.constantFrom('calendar' as const, 'anniversary' as const),
    zone: fc.constantFrom('UTC', 'America/New_York', 'Europe/Berlin', 'Asia/Kathmandu', 'Australia/Lord_Howe'),
  }) satisfies fc.Arbitrary<Terms>

  test('tile the time from the start: no gap, no overlap, at whole minutes, however they are cut into passes', () => {
    fc.assert(
      fc.property(anyTerms, fc.integer({ min: 1, max: 7 }), fc.integer({ min: 0, max: 60 }), (terms, limit, steps) => {
        const asOfMs = terms.startMs + steps * 11 * 24 * HOUR_MS
        let fromMs = terms.startMs
        let stored: StoredPeriod = storedFrom(terms, fromMs)
        for (let pass = 0; pass < 1000; pass += 1) {
          const due = duePeriods(terms, stored, HOUR_MS, asOfMs, limit)
          for (const period of due.periods) {
            expect(period.startMs).toBe(fromMs)
            expect(period.endMs).toBeGreaterThan(period.startMs)
            expect(period.endMs % MINUTE_MS).toBe(0)
            expect(period.endMs + HOUR_MS).toBeLessThanOrEqual(asOfMs)
            fromMs = period.endMs
          }
          expect(due.next?.startMs).toBe(fromMs)
          expect(due.mismatch).toBeUndefined()
          stored = due.next!
          if (!due.more) {
            expect(due.next!.endMs + HOUR_MS).toBeGreaterThan(asOfMs)
            return
          }
        }
        expect.fail('the passes never end')
      }),
      { numRuns: 200 },
    )
  })
})
