import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { livesMs } from '../../../ingest/quota/counter-life.ts'
import { counterAt, WINDOWS } from '../../../ingest/quota/limit.ts'
import { drawsFor, limitAt } from '../../../ingest/quota/limit-draws.ts'
import { bucketOf, isRolling, looksBack, ROLLING_MS, toldWithin, windowsOf } from '../../../ingest/quota/rolling.ts'
import { quotaLimit } from '../../support/quota-limit.ts'

const [MINUTE_MS, HOUR_MS] = [60_000, 3_600_000]
const NOON = Date.UTC(2026, 10, 20, 12)
const names = WINDOWS.filter(isRolling)
const aName = fc.constantFrom(...names)
const times = fc.integer({ min: Date.UTC(2020, 0, 1), max: Date.UTC(2090, 0, 1) })

/** ops/decisions/0026-rolling-windows.md */
describe('the buckets of a rolling limit', () => {
  test('are the twelfths of its length, counted from 1970, of whole minutes', () => {
    const widths = names.map((name) => (bucketOf(NOON, name).endMs - bucketOf(NOON, name).startMs) / MINUTE_MS)
    expect([names, widths]).toEqual([
      ['rolling_hour', 'rolling_day', 'rolling_30_days'],
      [5, 120, 3_600],
    ])
    fc.assert(
      fc.property(aName, times, (name, timeMs) => {
        const { startMs, endMs } = bucketOf(timeMs, name)
        expect([startMs <= timeMs && timeMs < endMs, startMs % (endMs - startMs)]).toEqual([true, 0])
      }),
    )
  })

  test('are the same objects while late events and others come in turn', () => {
    const limit = quotaLimit({ meter: 'm', limitMicro: 1n, window: 'rolling_hour' })
    const [now, late] = [counterAt(1, limit, NOON), counterAt(1, limit, NOON - 10 * MINUTE_MS)]
    expect(now).toMatchObject({ startMs: NOON, endMs: NOON + 5 * MINUTE_MS, rolling: true })
    expect(counterAt(1, limit, NOON) === now && counterAt(1, limit, NOON - 10 * MINUTE_MS) === late).toBe(true)
    expect(windowsOf(now, NOON)).toBe(windowsOf(now, NOON + 1))
    counterAt(1, limit, NOON + 75 * MINUTE_MS)
    expect(counterAt(1, limit, NOON) === now).toBe(true)
    // Counters that nobody draws on any more, with their windows, are let go.
    counterAt(1, limit, NOON + 80 * MINUTE_MS)
    expect(counterAt(1, limit, NOON) === now).toBe(false)
    for (let n = 0; n < 100; n++) counterAt(1, limit, NOON + n * HOUR_MS)
    expect(counterAt(1, limit, NOON)).toEqual(now)
    expect(counterAt(2, limit, NOON).tenant).toBe(2)
  })

  test('are drawn on once for all limits of one length, and apart from those of other lengths and from other windows', () => {
    const limitOf = (window: (typeof WINDOWS)[number], limitMicro: bigint, soft?: true) =>
      limitAt(1, quotaLimit({ meter: 'm', limitMicro, window, ...(soft ? { soft } : {}) }), NOON, NOON)
    const hour = limitOf('rolling_hour', 20n)
    const { rolling: _, ...times } = hour.counter
    const period = { ...limitOf('billing_period', 9n), counter: times }
    const all = [hour, limitOf('rolling_day', 30n), limitOf('rolling_hour', 10n, true), period, limitOf('hour', 5n)]
    const draws = drawsFor(all, 7n)
    expect(
      draws.map(({ limitMicro, softMicro, windows }) => [limitMicro < 100n && limitMicro, softMicro, windows?.length]),
    ).toEqual([
      [20n, 10n, 3],
      [30n, undefined, 1],
      [9n, undefined, undefined],
      [5n, undefined, undefined],
    ])
  })
})

describe('the windows that a bucket is judged by', () => {
  test('are thirteen buckets each, follow each other, and all hold it', () => {
    fc.assert(
      fc.property(aName, times, fc.integer({ min: -40 * 24 * 60, max: 5 }), (name, nowMs, minutes) => {
        const limit = quotaLimit({ meter: 'm', limitMicro: 1n, window: name })
        const bucket = counterAt(1, limit, nowMs + minutes * MINUTE_MS)
        const widthMs = ROLLING_MS[name] / 12
        const windows = windowsOf(bucket, nowMs)
        for (const [n, window] of windows.entries()) {
          expect(window.map(({ startMs }) => startMs)).toEqual(
            Array.from({ length: 13 }, (_, place) => bucket.startMs + (place + n - 12) * widthMs),
          )
          expect(window).toContain(bucket)
          expect(window.every(({ startMs, endMs, rolling }) => rolling && endMs - startMs === widthMs)).toBe(true)
        }
        // All that can hold it, as far as anything can lie in their last bucket.
        const nextStartMs = bucket.startMs + windows.length * widthMs
        expect(windows.length === 13 || nextStartMs > nowMs + 5 * MINUTE_MS).toBe(true)
      }),
    )
  })

  test('are one for most of a longer bucket, and a few at a turn', () => {
    const windowsAt = (window: (typeof names)[number], nowMs: number) =>
      windowsOf(counterAt(1, quotaLimit({ meter: 'm', limitMicro: 1n, window }), nowMs), nowMs).length
    expect([windowsAt('rolling_day', NOON), windowsAt('rolling_day', NOON + 115 * MINUTE_MS)]).toEqual([1, 2])
    expect(windowsAt('rolling_hour', NOON)).toBe(3)
  })
})

test('what a limit looks back on, when a level is told once, and how long a bucket lives', () => {
  const of = (window: (typeof names)[number]) =>
    counterAt(1, quotaLimit({ meter: 'm', limitMicro: 1n, window }), NOON + 1)
  const iso = ({ startMs, endMs }: { startMs: number; endMs: number }) =>
    [startMs, endMs].map((ms) => new Date(ms).toISOString())
  expect(iso(looksBack(of('rolling_hour')))).toEqual(['2026-11-20T11:00:00.000Z', '2026-11-20T12:05:00.000Z'])
  expect(iso(toldWithin(of('rolling_hour')))).toEqual(['2026-11-20T12:00:00.000Z', '2026-11-20T13:00:00.000Z'])
  expect(iso(looksBack(of('rolling_day')))).toEqual(['2026-11-19T12:00:00.000Z', '2026-11-20T14:00:00.000Z'])
  expect(iso(toldWithin(of('rolling_day')))).toEqual(['2026-11-20T00:00:00.000Z', '2026-11-21T00:00:00.000Z'])
  const { startMs, endMs } = toldWithin(of('rolling_30_days'))
  expect([(endMs - startMs) / HOUR_MS / 24, startMs % (endMs - startMs)]).toEqual([30, 0])
  expect(names.map((name) => livesMs(of(name)) / MINUTE_MS)).toEqual([80, 24 * 60, 24 * 60])
})
