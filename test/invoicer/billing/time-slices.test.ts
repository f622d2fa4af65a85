import fc from 'fast-check'
import { expect, test } from 'vitest'
import { cutTime, within } from '../../../invoicer/billing/time-slices.ts'

const MINUTE_MS = 60_000
const minutes = fc.uniqueArray(fc.tuple(fc.nat(50), fc.integer({ min: 1, max: 9 })), { selector: ([at]) => at })

test('slices lie one behind the other without a gap, none with more events than may be held; a fuller minute is named', () => {
  fc.assert(
    fc.property(minutes, fc.integer({ min: 5, max: 20 }), (all, most) => {
      const byMinute = new Map(all.map(([at, events]) => [at * MINUTE_MS, events]))
      const slices = cutTime(byMinute, most)
      const full = [...byMinute].sort(([a], [b]) => a - b).find(([, events]) => events > most)
      if ('fullMs' in slices) {
        expect([slices.fullMs, slices.events]).toEqual(full)
        return
      }
      expect(full).toBeUndefined()
      expect([slices[0]?.startMs, slices.at(-1)?.endMs]).toEqual([Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY])
      expect(slices.slice(1).map(({ startMs }) => startMs)).toEqual(slices.slice(0, -1).map(({ endMs }) => endMs))
      const eventsIn = slices.map(({ startMs, endMs }) =>
        [...byMinute].reduce((sum, [at, events]) => (at >= startMs && at < endMs ? sum + events : sum), 0),
      )
      expect(Math.max(...eventsIn)).toBeLessThanOrEqual(most)
    }),
  )
})

test('what of a time lies in a slice is cut to it, and what lies outside is gone', () => {
  const span = (startMs: number, endMs: number) => ({ place: 0, subject: 's', startMs, endMs })
  expect(within([span(0, 10), span(10, 20), span(30, 40)], { startMs: 5, endMs: 15 })).toEqual([
    span(5, 10),
    span(10, 15),
  ])
  expect(within([span(0, 10)], { startMs: Number.NEGATIVE_INFINITY, endMs: Number.POSITIVE_INFINITY })).toEqual([
    span(0, 10),
  ])
})
