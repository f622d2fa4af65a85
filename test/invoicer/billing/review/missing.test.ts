import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { periodsFrom } from '../../../../invoicer/agreements/subscriptions/periods.ts'
import { type Ended, missedBy } from '../../../../invoicer/billing/review/missing.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const ended = (billedUntilMs: number, change: Partial<Ended['terms']> = {}): Ended => ({
  subscriptionId: 's',
  customerId: 'c',
  currency: 'USD',
  terms: {
    startMs: Date.UTC(2023, 0, 31),
    endMs: billedUntilMs,
    interval: 'month',
    every: 1,
    alignment: 'anniversary',
    zone: 'UTC',
    ...change,
  },
  graceMs: HOUR_MS,
  billedUntilMs,
  previousMinor: 100n,
})

describe('a subscription that has ended is missed', () => {
  const february = Date.UTC(2023, 1, 28)
  const due = Date.UTC(2023, 2, 31) + HOUR_MS

  test('as the period behind its last one would have been due, by its calendar and with its grace', () => {
    const missed = missedBy({ afterMs: due - 1, untilMs: due }, ended(february))
    expect(missed).toMatchObject({
      kind: 'missing',
      periodStartMs: february,
      periodEndMs: due - HOUR_MS,
      amountMinor: 0n,
      previousMinor: 100n,
    })
    expect(missedBy({ afterMs: due - DAY_MS, untilMs: due - 1 }, ended(february))).toBeUndefined()
    expect(missedBy({ afterMs: due, untilMs: due + DAY_MS }, ended(february))).toBeUndefined()
  })

  test('at the end of the period in which it was cancelled, if that was in its middle', () => {
    const middle = Date.UTC(2023, 2, 17)
    expect(missedBy({ afterMs: due - 1, untilMs: due }, ended(middle))).toMatchObject({ periodStartMs: middle })
  })

  test('once by runs that follow each other, whenever they come', () => {
    const gaps = fc.array(fc.integer({ min: 1, max: 40 * DAY_MS }), { minLength: 1, maxLength: 30 })
    const interval = fc.constantFrom('day' as const, 'week' as const, 'month' as const)
    fc.assert(
      fc.property(interval, fc.integer({ min: 1, max: 3 }), fc.nat({ max: 5 }), gaps, (unit, every, nth, steps) => {
        const one = ended(0, { interval: unit, every, endMs: null })
        const periods = periodsFrom(one.terms, one.terms.startMs)
        let billedUntilMs = 0
        for (let index = 0; index <= nth; index += 1) billedUntilMs = periods.next().value!.endMs
        let afterMs = billedUntilMs
        const found = steps.flatMap((step) => {
          const window = { afterMs, untilMs: afterMs + step }
          afterMs += step
          return missedBy(window, { ...one, billedUntilMs }) ?? []
        })
        const dueMs = periods.next().value!.endMs + one.graceMs
        expect(found).toHaveLength(dueMs <= afterMs ? 1 : 0)
      }),
    )
  })
})
