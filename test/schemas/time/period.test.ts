import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../../schemas/http/problem.ts'
import {
  type Cadence,
  calendarMonthStart,
  floorToMinute,
  INTERVALS,
  periodAt,
  periodBoundary,
  periodsBetween,
  type Schedule,
  type Window,
  windowStarts,
} from '../../../schemas/time/period.ts'
import { ODD_ZONES } from '../../support/odd-zones.ts'
import { runs } from '../../support/runs.ts'
import { clockOf, countedBoundary } from './counted-boundary.ts'

const at = (text: string) => Date.parse(text)
const iso = (ms: number) => new Date(ms).toISOString().replace(':00.000Z', 'Z')
const monthly: Cadence = { interval: 'month', every: 1 }
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000

const zone = fc.constantFrom(...ODD_ZONES)
const instant = fc.integer({ min: at('2008-01-01T00:00Z'), max: at('2045-01-01T00:00Z') })
const interval = fc.constantFrom(...INTERVALS)
const cadence = fc.record({ interval, every: fc.integer({ min: 1, max: 14 }) })

describe('boundaries from the original anchor (billing-rules, Periods)', () => {
  const boundaries = (anchor: string, rule: Cadence, inZone: string, count: number) =>
    Array.from({ length: count + 1 }, (_, n) => iso(periodBoundary(at(anchor), rule, inZone, n)))

  test('P4: monthly from 31 January is clamped to the month and comes back afterwards', () => {
    const days = boundaries('2023-01-31T00:00Z', monthly, 'UTC', 4).map((text) => text.slice(0, 10))
    expect(days).toEqual(['2023-01-31', '2023-02-28', '2023-03-31', '2023-04-30', '2023-05-31'])
    expect(boundaries('2024-01-31T00:00Z', monthly, 'UTC', 1)[1]).toBe('2024-02-29T00:00Z')
  })

  test('yearly from 29 February falls on the 28th thrice and comes back', () => {
    const days = boundaries('2024-02-29T12:00Z', { interval: 'year', every: 1 }, 'UTC', 4)
    expect(days.map((text) => text.slice(0, 10))).toEqual([
      ...['2024-02-29', '2025-02-28', '2026-02-28', '2027-02-28', '2028-02-29'],
    ])
  })

  test('the anchor is an instant: midnight UTC of the 31st repeats as 19:00 of the 30th in New York', () => {
    expect(boundaries('2024-01-31T00:00Z', monthly, 'America/New_York', 4)).toEqual([
      ...['2024-01-31T00:00Z', '2024-03-01T00:00Z', '2024-03-30T23:00Z', '2024-04-30T23:00Z', '2024-05-30T23:00Z'],
    ])
  })

  test('P7: the boundaries after an anchor on the 15th, 12:00, and after a daily one at 14:30', () => {
    const first = { ...monthly, zone: 'UTC', alignment: 'anniversary' } as const
    expect(iso(periodAt({ ...first, startMs: at('2024-01-15T12:00Z') }, at('2024-04-01T00:00Z'))!.endMs)).toBe(
      '2024-04-15T12:00Z',
    )
    const daily = { ...first, interval: 'day', startMs: at('2024-03-01T14:30Z') } as const
    expect(iso(periodAt(daily, at('2024-03-10T08:00Z'))!.endMs)).toBe('2024-03-10T14:30Z')
  })

  test('a boundary in the hour that clocks leap over is the first instant after it', () => {
    expect(boundaries('2024-02-10T07:30Z', monthly, 'America/New_York', 2)).toEqual([
      ...['2024-02-10T07:30Z', '2024-03-10T07:00Z', '2024-04-10T06:30Z'],
    ])
  })

  test('boundaries are floored to the minute, the anchor as well', () => {
    expect(boundaries('2024-01-05T12:12:59.999Z', monthly, 'UTC', 1)).toEqual([
      '2024-01-05T12:12Z',
      '2024-02-05T12:12Z',
    ])
    expect(iso(floorToMinute(-1))).toBe('1969-12-31T23:59Z')
  })

  test('an anchor in the later of two equal hours stays where it is', () => {
    const anchorMs = at('2024-11-03T06:30Z')
    expect(periodBoundary(anchorMs, monthly, 'America/New_York', 0)).toBe(anchorMs)
  })

  test.each([0, -1, 1.5, Number.NaN])('every %d intervals is refused', (every) => {
    expect(() => periodBoundary(0, { interval: 'month', every }, 'UTC', 1)).toThrow(Problem)
  })

  test('agrees with counting days one by one and asking a clock for the instant', () => {
    fc.assert(
      fc.property(instant, cadence, zone, fc.integer({ min: 1, max: 40 }), (anchorMs, rule, inZone, n) => {
        expect(iso(periodBoundary(anchorMs, rule, inZone, n))).toBe(iso(countedBoundary(anchorMs, rule, inZone, n)))
      }),
      { numRuns: 400 },
    )
  })
})

describe('periods of a subscription', () => {
  const schedule: Schedule = {
    ...monthly,
    startMs: at('2024-01-31T10:20:30Z'),
    zone: 'UTC',
    alignment: 'anniversary',
  }
  const shown = (rule: Schedule, from: string, to: string) =>
    [...periodsBetween(rule, at(from), at(to))].map(({ index, startMs, endMs }) => [index, iso(startMs), iso(endMs)])

  test('anniversary periods are half-open, overlap the range asked for, and begin with the start', () => {
    expect(shown(schedule, '2020-01-01T00:00Z', '2024-03-01T00:00Z')).toEqual([
      [0, '2024-01-31T10:20Z', '2024-02-29T10:20Z'],
      [1, '2024-02-29T10:20Z', '2024-03-31T10:20Z'],
    ])
    expect(shown(schedule, '2024-02-29T10:20Z', '2024-03-31T10:20Z')).toHaveLength(1)
    expect(shown(schedule, '2024-02-29T10:19Z', '2024-03-31T10:21Z')).toHaveLength(3)
  })

  test('an end cuts the last period; the whole one stays known for proration', () => {
    const ending = { ...schedule, endMs: at('2024-03-10T00:00:59Z') }
    expect(shown(ending, '2024-01-01T00:00Z', '2030-01-01T00:00Z').at(-1)).toEqual([
      ...[1, '2024-02-29T10:20Z', '2024-03-10T00:00Z'],
    ])
    const last = periodAt(ending, at('2024-03-09T23:59Z'))!
    expect([iso(last.wholeStartMs), iso(last.wholeEndMs)]).toEqual(['2024-02-29T10:20Z', '2024-03-31T10:20Z'])
    expect(periodAt(ending, at('2024-03-10T00:00Z'))).toBeUndefined()
    expect(periodAt(ending, at('2024-01-31T10:19Z'))).toBeUndefined()
  })

  test('P3: calendar billing cuts the first period at the start and bills whole months after it', () => {
    const calendar: Schedule = { ...schedule, alignment: 'calendar', startMs: at('2024-03-15T12:12Z') }
    expect(shown(calendar, '2024-01-01T00:00Z', '2024-05-01T00:00Z')).toEqual([
      [0, '2024-03-15T12:12Z', '2024-04-01T00:00Z'],
      [1, '2024-04-01T00:00Z', '2024-05-01T00:00Z'],
    ])
    expect(iso(periodAt(calendar, at('2024-03-20T00:00Z'))!.wholeStartMs)).toBe('2024-03-01T00:00Z')
  })

  test('the demo: from the first row’s month to the end of the last row’s there is one period', () => {
    const demo: Schedule = {
      ...schedule,
      alignment: 'calendar',
      startMs: at('2023-11-01T00:00Z'),
      endMs: at('2023-12-01T00:00Z'),
    }
    expect(shown(demo, '2000-01-01T00:00Z', '2100-01-01T00:00Z')).toEqual([
      [0, '2023-11-01T00:00Z', '2023-12-01T00:00Z'],
    ])
  })

  test.each(['2023-01-01T05:00Z', '2023-03-20T12:00Z'])(
    'P5: calendar months of New York for a customer created at %s count March 3, April 4, May 2',
    (created) => {
      const local = ['03-01T04:00-05', '03-15T00:00-04', '03-31T23:59-04', '04-01T00:00-04', '04-01T00:01-04']
      const events = [...local, '04-15T00:00-04', '04-30T23:59-04', '05-01T00:00-04', '05-01T00:01-04']
      const rule: Schedule = { ...schedule, alignment: 'calendar', zone: 'America/New_York', startMs: at(created) }
      const months = [...periodsBetween(rule, at('2023-03-01T05:00Z'), at('2023-06-01T04:00Z'))]
      const counts = months.map(
        ({ wholeStartMs, wholeEndMs }) =>
          events.map((event) => at(`2023-${event}:00`)).filter((ms) => ms >= wholeStartMs && ms < wholeEndMs).length,
      )
      expect(counts).toEqual([3, 4, 2])
    },
  )

  test('P6: 18 months in Juneau are 18 periods that meet at local midnight of the first', () => {
    const rule: Schedule = {
      ...schedule,
      alignment: 'calendar',
      zone: 'America/Juneau',
      startMs: at('2022-11-01T08:00Z'),
      endMs: at('2024-05-01T08:00Z'),
    }
    const months = [...periodsBetween(rule, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)]
    expect(months).toHaveLength(18)
    expect(months.every((month) => month.startMs === month.wholeStartMs && month.endMs === month.wholeEndMs)).toBe(true)
  })

  test('calendar weeks begin on Monday, quarters with every third month of the start', () => {
    const weekly: Schedule = { ...schedule, alignment: 'calendar', interval: 'week', startMs: at('2024-02-29T05:00Z') }
    expect(iso(periodAt(weekly, at('2024-03-03T23:59Z'))!.endMs)).toBe('2024-03-04T00:00Z')
    const quarterly: Schedule = { ...schedule, alignment: 'calendar', every: 3 }
    expect(iso(periodAt(quarterly, schedule.startMs)!.endMs)).toBe('2024-04-01T00:00Z')
  })

  test('calendar quarters begin in January, April, July and October, half years in January and July', () => {
    const startMs = at('2024-05-31T10:20Z')
    const starts = (rule: Cadence) =>
      shown({ ...schedule, ...rule, alignment: 'calendar', startMs }, '2024-05-01T00:00Z', '2025-05-01T00:00Z').map(
        ([, start]) => String(start).slice(0, 10),
      )
    expect(starts({ interval: 'quarter', every: 1 })).toEqual([
      ...['2024-05-31', '2024-07-01', '2024-10-01', '2025-01-01', '2025-04-01'],
    ])
    expect(starts({ interval: 'quarter', every: 2 })).toEqual(['2024-05-31', '2024-10-01', '2025-04-01'])
    expect(starts({ interval: 'half_year', every: 1 })).toEqual(['2024-05-31', '2024-07-01', '2025-01-01'])
    const half = { ...schedule, ...monthly, interval: 'half_year', alignment: 'calendar', startMs } as const
    expect(iso(periodAt(half, startMs)!.wholeStartMs)).toBe('2024-01-01T00:00Z')
  })

  test('a quarter is three months and a half year six, from any anchor', () => {
    fc.assert(
      fc.property(instant, zone, fc.integer({ min: 1, max: 5 }), fc.nat(40), (anchorMs, inZone, every, n) => {
        for (const [interval, months] of [
          ['quarter', 3],
          ['half_year', 6],
        ] as const) {
          const asMonths = periodBoundary(anchorMs, { interval: 'month', every: months * every }, inZone, n)
          expect(periodBoundary(anchorMs, { interval, every }, inZone, n)).toBe(asMonths)
        }
      }),
      { numRuns: runs(300) },
    )
  })

  test('no period for an end at or before the start; an endless range is refused after 10,000', () => {
    expect(shown({ ...schedule, endMs: schedule.startMs }, '2000-01-01T00:00Z', '2100-01-01T00:00Z')).toEqual([])
    expect(() => [
      ...periodsBetween({ ...schedule, interval: 'day' }, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY),
    ]).toThrow(/more than 10000 periods/)
    expect(() => [...periodsBetween({ ...schedule, every: 0 }, 0, at('2100-01-01T00:00Z'))]).toThrow(Problem)
  })

  test('periods tile 50 years from the start, without gap or overlap, for any anchor, cadence and zone', () => {
    const alignment = fc.constantFrom('anniversary' as const, 'calendar' as const)
    fc.assert(
      fc.property(instant, cadence, zone, alignment, (startMs, rule, inZone, aligned) => {
        const years = rule.interval === 'day' ? 2 : rule.interval === 'week' ? 10 : 50
        const toMs = startMs + years * 366 * DAY_MS
        const whole: Schedule = { ...rule, startMs, zone: inZone, alignment: aligned }
        let expectedStartMs = floorToMinute(startMs)
        for (const period of periodsBetween(whole, startMs, toMs)) {
          expect(period.startMs).toBe(expectedStartMs)
          expect(period.endMs).toBeGreaterThan(period.startMs)
          expect(period.endMs % MINUTE_MS).toBe(0)
          expectedStartMs = period.endMs
        }
        expect(expectedStartMs).toBeGreaterThanOrEqual(toMs)
      }),
      { numRuns: runs(300) },
    )
  })

  test('asking for a later range gives the same periods as walking from the start', () => {
    fc.assert(
      fc.property(instant, cadence, zone, fc.nat(3000), fc.nat(400), (startMs, rule, inZone, after, days) => {
        const whole: Schedule = { ...rule, startMs, zone: inZone, alignment: 'anniversary' }
        const fromMs = startMs + after * DAY_MS
        const toMs = fromMs + days * DAY_MS
        const walked = [...periodsBetween(whole, startMs, toMs)].filter(
          (period) => period.endMs > fromMs && period.startMs < toMs,
        )
        expect([...periodsBetween(whole, fromMs, toMs)]).toEqual(walked)
      }),
      { numRuns: 200 },
    )
  })

  test('the month of an instant starts at local midnight, after the gap where there is none', () => {
    expect(iso(calendarMonthStart(at('2023-11-15T00:00Z'), 'UTC'))).toBe('2023-11-01T00:00Z')
    expect(iso(calendarMonthStart(at('2023-11-15T00:00Z'), 'UTC', 1))).toBe('2023-12-01T00:00Z')
    expect(iso(calendarMonthStart(at('2024-01-01T01:00Z'), 'America/New_York'))).toBe('2023-12-01T05:00Z')
    // Amman put its clocks forward at midnight of 1 April 2011: the month began at 01:00.
    const april = calendarMonthStart(at('2011-04-10T00:00Z'), 'Asia/Amman')
    expect([iso(april), clockOf('Asia/Amman').format(april)]).toEqual(['2011-03-31T22:00Z', '2011-04-01 01:00'])
    expect(calendarMonthStart(at('2011-03-10T00:00Z'), 'Asia/Amman', 1)).toBe(april)
  })
})

describe('windows of usage', () => {
  const lengths = (from: string, to: string, window: Window, inZone: string) => {
    const starts = windowStarts(at(from), at(to), window, inZone)
    return starts.slice(1).map((start, index) => (start - starts[index]!) / HOUR_MS)
  }

  test('the first window holds the start of the range, the last one its end', () => {
    expect(windowStarts(at('2024-05-01T10:59Z'), at('2024-05-01T13:00Z'), 'hour', 'UTC').map(iso)).toEqual([
      ...['2024-05-01T10:00Z', '2024-05-01T11:00Z', '2024-05-01T12:00Z'],
    ])
    expect(windowStarts(at('2024-05-01T00:00Z'), at('2024-05-01T00:00Z'), 'day', 'UTC')).toEqual([])
  })

  test('a day is 23 hours long when clocks go forward and 25 when they go back', () => {
    expect(lengths('2024-03-09T05:00Z', '2024-03-13T00:00Z', 'day', 'America/New_York')).toEqual([24, 23, 24])
    expect(lengths('2024-11-02T04:00Z', '2024-11-06T00:00Z', 'day', 'America/New_York')).toEqual([24, 25, 24])
  })

  test('hours follow the clock in zones with 30 and 45 minutes', () => {
    expect(windowStarts(at('2024-05-01T00:00Z'), at('2024-05-01T02:00Z'), 'hour', 'Asia/Kathmandu').map(iso)).toEqual([
      ...['2024-04-30T23:15Z', '2024-05-01T00:15Z', '2024-05-01T01:15Z'],
    ])
    expect(iso(windowStarts(at('2024-05-01T00:00Z'), at('2024-05-01T01:00Z'), 'day', 'Asia/Kolkata')[0]!)).toBe(
      '2024-04-30T18:30Z',
    )
  })

  test('a change by an hour leaves hours whole; one by half an hour makes an hour longer or shorter', () => {
    expect(lengths('2024-11-03T04:00Z', '2024-11-03T08:00Z', 'hour', 'America/New_York')).toEqual([1, 1, 1])
    expect(lengths('2024-04-06T13:00Z', '2024-04-06T18:00Z', 'hour', 'Australia/Lord_Howe')).toEqual([1, 1.5, 1, 1])
    expect(lengths('2024-10-05T14:30Z', '2024-10-05T18:00Z', 'hour', 'Australia/Lord_Howe')).toEqual([1, 0.5, 1])
  })

  test('the day that Samoa left out has no window', () => {
    const starts = windowStarts(at('2011-12-29T12:00Z'), at('2012-01-01T00:00Z'), 'day', 'Pacific/Apia')
    expect(starts.map(iso)).toEqual(['2011-12-29T10:00Z', '2011-12-30T10:00Z', '2011-12-31T10:00Z'])
  })

  test('more than 10,000 windows are refused', () => {
    expect(windowStarts(at('2024-01-01T00:00Z'), at('2025-01-01T00:00Z'), 'hour', 'UTC')).toHaveLength(8784)
    expect(() => windowStarts(0, at('2024-01-01T00:00Z'), 'hour', 'UTC')).toThrow(/more than 10000 windows/)
  })

  test('windows tile any range: they ascend, begin where asked, and split at any cut into the same windows', () => {
    const range = fc.record({
      fromMs: instant,
      days: fc.integer({ min: 1, max: 90 }),
      cut: fc.double({ min: 0, max: 1 }),
    })
    fc.assert(
      fc.property(
        range,
        zone,
        fc.constantFrom<Window>('hour', 'day', 'month'),
        ({ fromMs, days, cut }, inZone, window) => {
          const toMs = fromMs + (days * DAY_MS) / (window === 'hour' ? 10 : 1)
          const starts = windowStarts(fromMs, toMs, window, inZone)
          expect(starts[0]).toBeLessThanOrEqual(fromMs)
          expect(starts.at(-1)).toBeLessThan(toMs)
          if (starts.length > 1) expect(starts[1]).toBeGreaterThan(fromMs)
          const cutMs = fromMs + Math.floor((toMs - fromMs) * (cut || 0)) + 1
          const parts = [...windowStarts(fromMs, cutMs, window, inZone), ...windowStarts(cutMs, toMs, window, inZone)]
          expect([...new Set(parts)]).toEqual(starts)
          expect([...starts].sort((a, b) => a - b)).toEqual(starts)
        },
      ),
      { numRuns: 400 },
    )
  })

  test('minutes with the same local hour, day or month share a window, as asking a clock minute by minute shows', () => {
    const shapes = { hour: 13, day: 10, month: 7 }
    fc.assert(
      fc.property(
        instant,
        zone,
        fc.constantFrom('hour' as const, 'day' as const, 'month' as const),
        (someMs, inZone, window) => {
          const fromMs = floorToMinute(someMs)
          const toMs = fromMs + 30 * HOUR_MS
          const starts = new Set(windowStarts(fromMs, toMs, window, inZone))
          const clock = clockOf(inZone)
          for (let ms = fromMs + MINUTE_MS; ms < toMs; ms += MINUTE_MS) {
            const [before, after] = [clock.format(ms - MINUTE_MS), clock.format(ms)]
            const label = shapes[window]
            // Going back, clocks repeat: a full hour starts anew, a midnight that was there already does not.
            const begins =
              after.slice(0, label) > before.slice(0, label) || (window === 'hour' && after.endsWith(':00'))
            if (begins && window !== 'hour' && repeats(clock, ms, label)) continue
            expect([iso(ms), starts.has(ms)]).toEqual([iso(ms), begins])
          }
        },
      ),
      { numRuns: 60 },
    )
  })
})

function repeats(clock: Intl.DateTimeFormat, ms: number, label: number): boolean {
  const shown = clock.format(ms).slice(0, label)
  for (let back = 1; back <= 180; back += 1) {
    if (clock.format(ms - back * MINUTE_MS).slice(0, label) === shown) return true
  }
  return false
}
