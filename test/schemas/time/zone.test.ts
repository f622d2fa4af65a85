import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../../schemas/http/problem.ts'
import {
  type Civil,
  checkZone,
  civilAt,
  instantOf,
  isZone,
  offsetChange,
  offsetMs,
} from '../../../schemas/time/zone.ts'

const iso = (ms: number) => new Date(ms).toISOString().replace(':00.000Z', 'Z')
const civil = (text: string): Civil => {
  const [year, month, day, hour, minute, second] = text.split(/\D/).map(Number)
  return { year: year!, month: month!, day: day!, hour: hour!, minute: minute!, second: second ?? 0 }
}
const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000

/** Zones with all that is odd: half and quarter hours, changes at midnight or by 30 min or 2 h, a skipped day. */
const ODD_ZONES = [
  ...['UTC', 'America/New_York', 'Europe/London', 'America/Juneau', 'America/St_Johns', 'America/Havana'],
  ...['America/Sao_Paulo', 'America/Santiago', 'Africa/Cairo', 'Africa/Casablanca', 'Asia/Beirut', 'Asia/Tehran'],
  ...['Asia/Kathmandu', 'Australia/Eucla', 'Australia/Lord_Howe', 'Pacific/Chatham', 'Pacific/Apia'],
  ...['Pacific/Kiritimati', 'Antarctica/Troll', 'Asia/Gaza'],
]

describe('zones', () => {
  test.each(['UTC', 'Europe/Berlin', 'America/Argentina/Buenos_Aires', 'Etc/GMT+5'])('%s is a zone', (zone) => {
    expect(isZone(zone)).toBe(true)
    expect(() => checkZone(zone)).not.toThrow()
  })

  test.each(['', 'Mars/Olympus', '+05:30', '-08', 'Europe/Berlin\n', '__proto__'])('%j is refused', (zone) => {
    expect(isZone(zone)).toBe(false)
    expect(() => checkZone(zone)).toThrow(Problem)
    expect(() => civilAt(0, zone)).toThrow(/is not an IANA time zone/)
  })

  test('a time out of range is refused, not computed wrongly', () => {
    for (const ms of [Number.NaN, Number.POSITIVE_INFINITY, Date.UTC(-1, 0), Date.UTC(10_001, 0)]) {
      expect(() => offsetMs(ms, 'UTC')).toThrow(/years 1000 to 9999/)
    }
  })
})

describe('an instant as local time', () => {
  test.each([
    ['2024-01-31T00:00:00Z', 'America/New_York', '2024-01-30 19:00:00'],
    ['2024-06-01T00:00:00Z', 'Asia/Kathmandu', '2024-06-01 05:45:00'],
    ['2024-06-01T12:34:56Z', 'Australia/Eucla', '2024-06-01 21:19:56'],
    ['2024-12-31T23:59:59Z', 'Pacific/Kiritimati', '2025-01-01 13:59:59'],
    ['1969-12-31T23:59:59Z', 'UTC', '1969-12-31 23:59:59'],
  ])('%s in %s is %s', (instant, zone, local) => {
    expect(civilAt(Date.parse(instant), zone)).toEqual(civil(local))
  })

  test('milliseconds are dropped downwards, also before 1970', () => {
    expect(civilAt(-1, 'UTC')).toEqual(civil('1969-12-31 23:59:59'))
    expect(civilAt(999, 'UTC')).toEqual(civil('1970-01-01 00:00:00'))
  })
})

describe('a local time as an instant (billing-rules, Periods)', () => {
  test.each([
    ['one that exists', '2024-07-01 00:00', 'America/New_York', '2024-07-01T04:00Z'],
    ['in a gap: the first instant after it', '2024-03-10 02:30', 'America/New_York', '2024-03-10T07:00Z'],
    ['the start of a gap: the first instant after it', '2024-03-10 02:00', 'America/New_York', '2024-03-10T07:00Z'],
    ['the end of a gap exists', '2024-03-10 03:00', 'America/New_York', '2024-03-10T07:00Z'],
    ['twice: the earlier', '2024-11-03 01:30', 'America/New_York', '2024-11-03T05:30Z'],
    ['twice east of Greenwich: the earlier', '2024-10-27 02:30', 'Europe/Berlin', '2024-10-27T00:30Z'],
    ['a gap of half an hour', '2024-10-06 02:10', 'Australia/Lord_Howe', '2024-10-05T15:30Z'],
    ['half an hour twice', '2024-04-07 01:45', 'Australia/Lord_Howe', '2024-04-06T14:45Z'],
    ['a gap of two hours', '2024-03-31 01:30', 'Antarctica/Troll', '2024-03-31T01:00Z'],
    ['midnight in a gap', '2018-11-04 00:00', 'America/Sao_Paulo', '2018-11-04T03:00Z'],
    ['midnight twice: the earlier', '2024-11-03 00:00', 'America/Havana', '2024-11-03T04:00Z'],
    ['a day the zone left out', '2011-12-30 12:00', 'Pacific/Apia', '2011-12-30T10:00Z'],
    ['fields run over', '2024-13-32 25:00', 'UTC', '2025-02-02T01:00Z'],
  ])('%s: %s in %s is %s', (_name, local, zone, instant) => {
    expect(iso(instantOf(civil(local), zone))).toBe(instant)
  })

  test('agrees with a search, minute by minute, of what clocks in the zone show', () => {
    const clocks = new Map(
      ODD_ZONES.map((timeZone) => {
        const options = { timeZone, dateStyle: 'short', timeStyle: 'short' } as const
        return [timeZone, new Intl.DateTimeFormat('sv-SE', options)]
      }),
    )
    const change = fc.constantFrom(...ODD_ZONES).chain((zone) => {
      const changes = changesOf(zone, 2008, 2030)
      const near = changes.length > 0 ? fc.constantFrom(...changes) : fc.constant(0)
      return fc.record({ zone: fc.constant(zone), near, minutes: fc.integer({ min: -200, max: 200 }) })
    })
    fc.assert(
      fc.property(change, ({ zone, near, minutes }) => {
        const localMs = near + offsetMs(near, zone) + minutes * MINUTE_MS
        const wanted = new Date(localMs).toISOString().slice(0, 16).replace('T', ' ')
        const shown: { ms: number; text: string }[] = []
        for (let ms = near - 6 * HOUR_MS; ms <= near + 6 * HOUR_MS; ms += MINUTE_MS) {
          shown.push({ ms, text: clocks.get(zone)!.format(ms) })
        }
        const first = shown.find(({ text }) => text === wanted) ?? shown.find(({ text }) => text > wanted)
        expect(iso(instantOf(civil(wanted), zone))).toBe(iso(first!.ms))
      }),
      { numRuns: 100 },
    )
  })

  test('an instant shown by a clock is found again, or an earlier one that shows the same', () => {
    const instant = fc.integer({ min: Date.UTC(1970, 0) / 1000, max: Date.UTC(2100, 0) / 1000 })
    fc.assert(
      fc.property(instant, fc.constantFrom(...Intl.supportedValuesOf('timeZone')), (second, zone) => {
        const local = civilAt(second * 1000, zone)
        const found = instantOf(local, zone)
        expect(found).toBeLessThanOrEqual(second * 1000)
        expect(civilAt(found, zone)).toEqual(local)
      }),
      { numRuns: 3000 },
    )
  })
})

test('the instant of a clock change is found to the second', () => {
  const [before, after] = [Date.parse('2024-03-09T00:00:00.123Z'), Date.parse('2024-03-11T00:00:00.456Z')]
  expect(iso(offsetChange(before, after, 'America/New_York'))).toBe('2024-03-10T07:00Z')
})

function changesOf(zone: string, fromYear: number, toYear: number): number[] {
  const changes: number[] = []
  for (let ms = Date.UTC(fromYear, 0); ms < Date.UTC(toYear, 0); ms += 24 * HOUR_MS) {
    if (offsetMs(ms, zone) !== offsetMs(ms + 24 * HOUR_MS, zone))
      changes.push(offsetChange(ms, ms + 24 * HOUR_MS, zone))
  }
  return changes
}
