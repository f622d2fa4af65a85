import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { quotePeriods } from '../../../../invoicer/billing/quote/quote-periods.ts'
import { INTERVALS } from '../../../../schemas/time/period.ts'
import { ODD_ZONES } from '../../../support/odd-zones.ts'
import { runs } from '../../../support/runs.ts'
import { secondBoundary } from './second/periods.ts'

const boundaries = (input: object) =>
  (quotePeriods({ kind: 'periods', ...input }) as { boundaries: string[] }).boundaries
const shown = (input: object) => boundaries(input).map((text) => text.replace(':00Z', 'Z'))
const monthly = { anchor: '2024-01-31T00:00:00Z', interval: 'month', every: 1, timezone: 'UTC', count: 2 }

/** Issue 7: `quote`, kind periods. The worked cases are data, in cases/periods.jsonl. */
describe('quoted periods', () => {
  test('count from the anchor, an instant, in the calendar of the zone', () => {
    expect(shown({ ...monthly, timezone: 'America/New_York' })).toEqual([
      ...['2024-01-31T00:00Z', '2024-03-01T00:00Z', '2024-03-30T23:00Z'],
    ])
  })

  test('recur every month of UTC where no more is said', () => {
    expect(shown({ anchor: '2024-01-31T00:00:00Z', interval: 'month', count: 1 })).toEqual([
      ...['2024-01-31T00:00Z', '2024-02-29T00:00Z'],
    ])
  })

  test.each([
    ['quarter', ['2023-11-30T10:20Z', '2024-02-29T10:20Z', '2024-05-30T10:20Z', '2024-08-30T10:20Z']],
    ['half_year', ['2023-11-30T10:20Z', '2024-05-30T10:20Z', '2024-11-30T10:20Z', '2025-05-30T10:20Z']],
    ['half year', ['2023-11-30T10:20Z', '2024-05-30T10:20Z', '2024-11-30T10:20Z', '2025-05-30T10:20Z']],
    ['year', ['2023-11-30T10:20Z', '2024-11-30T10:20Z', '2025-11-30T10:20Z', '2026-11-30T10:20Z']],
  ])('last a %s, floored to the minute', (interval, expected) => {
    expect(shown({ anchor: '2023-11-30T10:20:59.999Z', interval, count: 3 })).toEqual(expected)
  })

  test('of a day that the zone left out have no length', () => {
    const days = { anchor: '2011-12-29T22:00:00Z', interval: 'day', timezone: 'Pacific/Apia', count: 3 }
    expect(shown(days)).toEqual(['2011-12-29T22:00Z', '2011-12-30T10:00Z', '2011-12-30T22:00Z', '2011-12-31T22:00Z'])
    expect(shown({ ...days, anchor: '2011-12-29T10:00:00Z' }).slice(1)).toEqual([
      ...['2011-12-30T10:00Z', '2011-12-30T10:00Z', '2011-12-31T10:00Z'],
    ])
  })

  test.each([
    ['anchor', { anchor: undefined }, 'This is missing'],
    ['anchor', { anchor: '2024-02-30T00:00:00Z' }, 'no such time'],
    ['anchor', { anchor: '2024-01-31T' }, 'RFC 3339'],
    ['anchor', { anchor: '2024-02-30' }, 'no such time'],
    ['anchor', { anchor: null }, 'This is missing'],
    ['anchor', { anchor: '0999-01-31T00:00:00Z' }, 'years 1000 to 9999'],
    ['interval', { interval: undefined }, 'This is missing. Send one of day, week'],
    ['interval', { interval: 'fortnight' }, 'day, week, month, quarter, half_year, year'],
    ['interval', { interval: 'constructor' }, 'Send one of'],
    ['interval', { interval: 'monthly' }, 'Send one of'],
    ['every', { every: 0 }, 'a whole number from 1'],
    ['every', { every: 1.5 }, 'a whole number'],
    ['every', { every: '1.5' }, 'a whole number'],
    ['every', { every: '' }, 'a whole number'],
    ['every', { every: '9'.repeat(400) }, 'a whole number'],
    ['timezone', { timezone: 'Mars/Olympus' }, 'not an IANA time zone'],
    ['timezone', { timezone: 5 }, 'not an IANA time zone'],
    ['count', { count: undefined }, 'a whole number from 0'],
    ['count', { count: null }, 'a whole number from 0'],
    ['count', { count: -1 }, 'a whole number from 0'],
    ['count', { count: 10_001 }, 'to 10000'],
    ['count', { interval: 'year', every: 1_000, count: 9 }, 'years 1000 to 9999'],
    ['alignment', { alignment: 'calendar' }, 'There is no such field'],
  ])('name the field %s of a bad case: %j', (field, wrong, message) => {
    const quoting = () => quotePeriods({ kind: 'periods', ...monthly, ...wrong })
    expect(quoting).toThrow(expect.objectContaining({ field, message: expect.stringContaining(message) }))
  })

  test.each([null, [], 'periods', 7])('%j is no case', (input) => {
    expect(() => quotePeriods(input)).toThrow(expect.objectContaining({ field: 'case' }))
  })
})

const FIFTY_YEARS = [
  ...[['day', 11, 1_661] as const, ['week', 3, 871] as const, ['month', 1, 600] as const],
  ...[['quarter', 1, 200] as const, ['half_year', 1, 100] as const, ['year', 1, 50] as const],
]

/** Issue 7: "periods tile for every anchor × zone × 50 years, cross-checked against a second implementation". */
describe('quoted periods and a second implementation', () => {
  const instant = fc
    .integer({ min: Date.UTC(2000, 0, 1) / 1000, max: Date.UTC(2035, 0, 1) / 1000 })
    .map((second) => second * 1000)
  const check = (
    anchorMs: number,
    interval: (typeof INTERVALS)[number],
    every: number,
    zone: string,
    count: number,
  ) => {
    const anchor = new Date(anchorMs).toISOString()
    const found = boundaries({ anchor, interval, every, timezone: zone, count }).map((text) => Date.parse(text))
    const expected = Array.from({ length: count + 1 }, (_, n) => secondBoundary(anchorMs, interval, every, zone, n))
    expect(found).toEqual(expected)
    // Half-open periods that meet at these neither overlap nor leave anything out.
    expect(found).toEqual([...found].sort((a, b) => a - b))
    return found
  }

  test.each(ODD_ZONES)('agree on 50 years from a day that months lack, in %s', (zone) => {
    for (const [interval, every, count] of FIFTY_YEARS) {
      const found = check(Date.UTC(2004, 0, 31, 6, 30), interval, every, zone, count)
      expect(found.at(-1)).toBeGreaterThan(Date.UTC(2053, 11, 1))
      check(Date.UTC(2004, 1, 29, 12, 0), interval, every, zone, 10)
    }
  })

  test('agree on any anchor, interval, multiple and zone', () => {
    // The second implementation lists changes of clocks up to 2090.
    const counts = { day: 24, week: 24, month: 24, quarter: 15, half_year: 8, year: 4 }
    const interval = fc.constantFrom(...INTERVALS)
    const every = fc.integer({ min: 1, max: 13 })
    fc.assert(
      fc.property(instant, interval, every, fc.constantFrom(...ODD_ZONES), (anchorMs, unit, multiple, zone) => {
        check(anchorMs, unit, multiple, zone, counts[unit])
      }),
      { numRuns: runs(2_000) },
    )
  })

  test('agree on boundaries beside a change of clocks', () => {
    const local = fc.constantFrom('America/New_York', 'Australia/Lord_Howe', 'America/Sao_Paulo', 'Africa/Casablanca')
    const near = fc.integer({ min: -26 * 60, max: 26 * 60 })
    fc.assert(
      fc.property(local, near, fc.constantFrom(...INTERVALS), (zone, minutes, unit) => {
        const changeMs = Date.parse('2017-10-15T03:00:00Z') + minutes * 60_000
        for (const change of ['2024-03-10T07:00Z', '2024-11-03T06:00Z', '2024-04-06T15:00Z', '2024-10-05T15:30Z']) {
          check(Date.parse(change) + minutes * 60_000 - 364 * 86_400_000, unit, 1, zone, 14)
        }
        check(changeMs, unit, 1, zone, 14)
      }),
      { numRuns: runs(200) },
    )
  })
})
