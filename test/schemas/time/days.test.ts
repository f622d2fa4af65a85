import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { daysBetween } from '../../../schemas/time/days.ts'
import { ODD_ZONES } from '../../support/odd-zones.ts'
import { runs } from '../../support/runs.ts'

const at = (text: string) => Date.parse(text)
const DAY_MS = 86_400_000

/** billing-rules, Proration: "calendar days in the customer's zone, half-open". */
describe('calendar days between two instants', () => {
  test.each([
    ['the day of the start counts, that of the end does not', '2024-03-15T12:12Z', '2024-04-01T00:00Z', 'UTC', 17],
    ['whatever the hour', '2024-03-15T23:59Z', '2024-04-01T23:59Z', 'UTC', 17],
    ['none within a day', '2024-03-15T00:00Z', '2024-03-15T23:59Z', 'UTC', 0],
    ['one over midnight', '2024-03-15T23:59Z', '2024-03-16T00:00Z', 'UTC', 1],
    ['days are those of the zone', '2024-03-15T23:59Z', '2024-03-16T00:00Z', 'America/New_York', 0],
    ['a day of 23 hours is one', '2024-03-10T05:00Z', '2024-03-11T04:00Z', 'America/New_York', 1],
    ['a day of 25 hours is one', '2024-11-03T04:00Z', '2024-11-04T05:00Z', 'America/New_York', 1],
    ['a day that the zone left out is none', '2011-12-01T10:00Z', '2011-12-31T10:00Z', 'Pacific/Apia', 30],
    ['nor is it one for the day before it', '2011-12-30T09:59Z', '2011-12-30T10:00Z', 'Pacific/Apia', 1],
    ['backwards they are negative', '2024-04-01T00:00Z', '2024-03-15T12:12Z', 'UTC', -17],
  ])('%s: from %s to %s in %s', (_name, from, to, zone, days) => {
    expect(daysBetween(at(from), at(to), zone)).toBe(days)
  })

  test('minutes repeated over midnight belong to the day that had begun already', () => {
    // At 00:01 of 4 November 2007 clocks in St John's went back to 23:01 of the 3rd.
    const repeated = at('2007-11-04T03:00Z')
    expect(new Date(repeated).toLocaleString('sv', { timeZone: 'America/St_Johns' })).toBe('2007-11-03 23:30:00')
    expect(daysBetween(at('2007-11-04T02:29Z'), repeated, 'America/St_Johns')).toBe(1)
    expect(daysBetween(repeated, at('2007-11-04T12:00Z'), 'America/St_Johns')).toBe(0)
  })

  test('add up over any cut, never fall as time goes on, and are about one in 24 hours', () => {
    const instant = fc.integer({ min: at('2000-01-01T00:00Z') / 60_000, max: at('2040-01-01T00:00Z') / 60_000 })
    const later = fc.integer({ min: 0, max: 400 * 24 * 60 })
    fc.assert(
      fc.property(instant, later, later, fc.constantFrom(...ODD_ZONES), (minute, first, second, zone) => {
        const [a, b, c] = [minute, minute + first, minute + first + second].map((one) => one * 60_000)
        const [ab, bc] = [daysBetween(a!, b!, zone), daysBetween(b!, c!, zone)]
        expect(ab + bc).toBe(daysBetween(a!, c!, zone))
        expect(Math.min(ab, bc)).toBeGreaterThanOrEqual(0)
        expect(Math.abs(ab - (b! - a!) / DAY_MS)).toBeLessThan(1.2)
      }),
      { numRuns: runs(3_000) },
    )
  })
})
