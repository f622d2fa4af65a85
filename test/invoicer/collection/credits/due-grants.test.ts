import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { daysLaterMs, dueGrants, firstFrom, nextStartMs } from '../../../../invoicer/collection/credits/due-grants.ts'
import { periodBoundary } from '../../../../schemas/time/period.ts'

type Terms = Parameters<typeof firstFrom>[0]
const at = (text: string) => Date.parse(text)
const monthly = (start: string, change: Partial<Terms> = {}): Terms => ({
  cadence: { interval: 'month', every: 1 },
  ...{ zone: 'UTC', startMs: at(start), untilMs: null, grants: null, expires: 'next_grant', expiresAfterDays: null },
  ...change,
})
const shown = (terms: Terms, until: string, most = 100) =>
  dueGrants(terms, firstFrom(terms, terms.startMs), at(until), most).due.map(({ index, atMs, expiresAtMs }) => {
    const end = expiresAtMs === null ? 'never' : new Date(expiresAtMs).toISOString()
    return `${index}: ${new Date(atMs).toISOString()} – ${end}`
  })

describe('the grants of a schedule come at the starts of its periods', () => {
  test('a day that a month lacks is clamped and comes back', () => {
    expect(shown(monthly('2024-01-31T00:00:00Z'), '2024-04-30T00:00:00Z')).toEqual([
      '0: 2024-01-31T00:00:00.000Z – 2024-02-29T00:00:00.000Z',
      '1: 2024-02-29T00:00:00.000Z – 2024-03-31T00:00:00.000Z',
      '2: 2024-03-31T00:00:00.000Z – 2024-04-30T00:00:00.000Z',
      '3: 2024-04-30T00:00:00.000Z – 2024-05-31T00:00:00.000Z',
    ])
  })

  test('midnight stays midnight when clocks change, days of expiry too', () => {
    const berlin = { zone: 'Europe/Berlin', expires: 'after_days' as const, expiresAfterDays: 10 }
    expect(shown(monthly('2024-02-24T23:00:00Z', berlin), '2024-04-25T00:00:00Z')).toEqual([
      '0: 2024-02-24T23:00:00.000Z – 2024-03-05T23:00:00.000Z',
      // Clocks go forward on 31 March: the ten days from the 25th are an hour shorter.
      '1: 2024-03-24T23:00:00.000Z – 2024-04-03T22:00:00.000Z',
      '2: 2024-04-24T22:00:00.000Z – 2024-05-04T22:00:00.000Z',
    ])
  })

  test('a day that a zone left out brings none, and none of no length', () => {
    const samoa = { zone: 'Pacific/Apia', cadence: { interval: 'day' as const, every: 1 } }
    expect(shown(monthly('2011-12-29T10:00:00Z', samoa), '2012-01-01T00:00:00Z')).toEqual([
      '0: 2011-12-29T10:00:00.000Z – 2011-12-30T10:00:00.000Z',
      '2: 2011-12-30T10:00:00.000Z – 2011-12-31T10:00:00.000Z',
      '3: 2011-12-31T10:00:00.000Z – 2012-01-01T10:00:00.000Z',
    ])
  })

  test('so many, until an instant, and none before the start', () => {
    const never = { expires: 'never' as const }
    expect(shown(monthly('2024-01-01T00:00:00Z', { ...never, grants: 2 }), '2025-01-01T00:00:00Z')).toEqual([
      '0: 2024-01-01T00:00:00.000Z – never',
      '1: 2024-02-01T00:00:00.000Z – never',
    ])
    const until = { ...never, untilMs: at('2024-02-01T00:00:00Z') }
    expect(shown(monthly('2024-01-01T00:00:00Z', until), '2025-01-01T00:00:00Z')).toHaveLength(1)
    expect(shown(monthly('2024-01-01T00:00:00Z'), '2023-12-31T23:59:59Z')).toEqual([])
  })

  test('what rolls over lasts to the next start behind its expiry, or so many days', () => {
    expect(nextStartMs(monthly('2024-01-31T00:00:00Z'), at('2024-02-29T00:00:00Z'))).toBe(at('2024-03-31T00:00:00Z'))
    expect(nextStartMs(monthly('2024-01-31T00:00:00Z'), at('2024-03-01T00:00:00Z'))).toBe(at('2024-03-31T00:00:00Z'))
    expect(daysLaterMs(at('2024-03-30T23:00:00Z'), 1, 'Europe/Berlin')).toBe(at('2024-03-31T22:00:00Z'))
  })
})

test('in whatever portions they are given, they are the same, each once and at the boundaries of its period', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: at('2020-01-01T00:00:00Z'), max: at('2024-12-31T00:00:00Z') }),
      fc.constantFrom('day', 'week', 'month', 'quarter', 'year' as const),
      fc.integer({ min: 1, max: 5 }),
      fc.constantFrom('UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Kathmandu', 'Australia/Lord_Howe'),
      fc.integer({ min: 1, max: 7 }),
      fc.integer({ min: 0, max: 40 }),
      (rawStartMs, interval, every, zone, portion, periods) => {
        const startMs = Math.floor(rawStartMs / 60_000) * 60_000
        const terms = monthly('2024-01-01T00:00:00Z', { cadence: { interval, every }, zone, startMs })
        const endMs = periodBoundary(startMs, terms.cadence, zone, periods)
        const all = dueGrants(terms, firstFrom(terms, startMs), endMs, 1_000)
        const expected = Array.from({ length: periods + 1 }, (_, n) => ({
          index: n,
          atMs: periodBoundary(startMs, terms.cadence, zone, n),
          expiresAtMs: periodBoundary(startMs, terms.cadence, zone, n + 1),
        }))
        expect(all.due).toEqual(expected)
        const parts: typeof all.due = []
        let next = firstFrom(terms, startMs)
        for (let turn = 0; turn <= periods; turn += 1) {
          const part = dueGrants(terms, next, endMs, portion)
          parts.push(...part.due)
          next = part.next
        }
        expect(parts).toEqual(all.due)
        expect(next).toEqual(all.next)
      },
    ),
  )
})
