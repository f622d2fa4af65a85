import fc from 'fast-check'
import { expect, test } from 'vitest'
import { MOST_ATTEMPTS, retryDelayMs } from '../../../ingest/webhooks/retry.ts'

const HOUR_MS = 3_600_000
const chance = fc.double({ min: 0, max: 1, noNaN: true })

test('the first retries come after 5 s, 5 min and 30 min at most, and half of it at least', () => {
  const of = (attempts: number) => [retryDelayMs(attempts, 0), retryDelayMs(attempts, 1)]
  expect([of(1), of(2), of(3)]).toEqual([
    [2_500, 5_000],
    [150_000, 300_000],
    [900_000, 1_800_000],
  ])
})

test('whatever chance says, the attempts span 15.7 hours at least and 31.6 at most', () => {
  fc.assert(
    fc.property(fc.array(chance, { minLength: MOST_ATTEMPTS, maxLength: MOST_ATTEMPTS }), (chances) => {
      const delays = chances.map((one, place) => retryDelayMs(place + 1, one))
      expect(delays.at(-1), 'given up after the last').toBeUndefined()
      const sum = delays.slice(0, -1).reduce<number>((all, one) => all + (one ?? 0), 0)
      expect(sum).toBeGreaterThan(15.7 * HOUR_MS)
      expect(sum).toBeLessThan(31.6 * HOUR_MS)
    }),
  )
})

test('chance spreads them: two that failed together come back apart', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: MOST_ATTEMPTS - 1 }), chance, chance, (attempts, one, other) => {
      fc.pre(Math.abs(one - other) > 0.01)
      expect(retryDelayMs(attempts, one)).not.toBe(retryDelayMs(attempts, other))
    }),
  )
})
