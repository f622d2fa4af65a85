import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Phase } from '../../../../invoicer/agreements/subscriptions/phases.ts'
import { commitmentWindow } from '../../../../invoicer/billing/commitments/commitment-window.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { MONTHLY } from '../../support/world.ts'

const month = (index: number, day = 1) => Date.UTC(2023, 10 + index, day)
const BASIS = { unit: 'second', zone: 'UTC' } as const
const price: Price = { model: 'per_unit', unit_amount: '1', commitment_amount: '1200', commitment_periods: 3 }
const phase = (startMs: number, more: Partial<Phase> = {}): Phase => {
  return { startMs, planId: 'a', kind: 'active', bills: true, ...more }
}
function windowAt(
  atMs: number,
  phases: readonly Phase[] | null = null,
  terms: object = {},
  basis: 'second' | 'day' = 'second',
) {
  const agreed = { planId: 'a', phases, terms: { ...MONTHLY, ...terms } }
  const found = commitmentWindow(agreed, 'a', price, atMs, { ...BASIS, unit: basis }, 'USD')
  const { startMs, endMs, committedMinor, servedUntilMs } = found
  const shown = [startMs, endMs, servedUntilMs].map((ms) => new Date(ms).toISOString().slice(0, 10))
  return [...shown, committedMinor]
}

describe('the window of a commitment', () => {
  test('holds so many periods, one window behind the other', () => {
    expect(windowAt(month(0))).toEqual(['2023-11-01', '2024-02-01', '2024-02-01', 120_000n])
    expect(windowAt(month(2, 29))).toEqual(['2023-11-01', '2024-02-01', '2024-02-01', 120_000n])
    expect(windowAt(month(3))).toEqual(['2024-02-01', '2024-05-01', '2024-05-01', 120_000n])
  })

  test('begins where the plan does, prorated where that is inside of a period', () => {
    const phases = [phase(month(0), { planId: 'b' }), phase(month(1, 17))]
    // 15 of 31 days and two months, of three.
    expect(windowAt(month(1, 17), phases)).toEqual(['2023-12-17', '2024-03-01', '2024-03-01', 99_355n])
    expect(windowAt(month(1, 17), phases, {}, 'day')).toEqual(['2023-12-17', '2024-03-01', '2024-03-01', 99_355n])
    expect(windowAt(month(4), phases)).toEqual(['2024-03-01', '2024-06-01', '2024-06-01', 120_000n])
  })

  test('does not count a trial it begins with', () => {
    const phases = [phase(month(0), { kind: 'trial', bills: false }), phase(month(1))]
    expect(windowAt(month(1), phases)).toEqual(['2023-12-01', '2024-03-01', '2024-03-01', 120_000n])
  })

  test('goes on over a pause that is not billed, and commits to less', () => {
    const phases = [phase(month(0)), phase(month(1), { kind: 'paused', bills: false }), phase(month(2))]
    expect(windowAt(month(2), phases)).toEqual(['2023-11-01', '2024-02-01', '2024-02-01', 80_000n])
    expect(windowAt(month(0), phases.slice(0, 2))).toEqual(['2023-11-01', '2024-02-01', '2023-12-01', 40_000n])
  })

  test('ends with the plan or the subscription, which commits to less', () => {
    const changed = [phase(month(0)), phase(month(1, 17), { planId: 'b' })]
    expect(windowAt(month(1), changed)).toEqual(['2023-11-01', '2024-01-01', '2023-12-17', 60_645n])
    expect(windowAt(month(1), null, { endMs: month(2) })).toEqual(['2023-11-01', '2024-01-01', '2024-01-01', 80_000n])
  })

  test('is one where another plan came between within one period, and two where that lasted longer', () => {
    const within = [phase(month(0)), phase(month(0, 11), { planId: 'b' }), phase(month(0, 21))]
    expect(windowAt(month(0, 5), within)).toEqual(['2023-11-01', '2024-02-01', '2024-02-01', 106_667n])
    expect(windowAt(month(0, 25), within)).toEqual(['2023-11-01', '2024-02-01', '2024-02-01', 106_667n])
    const longer = [phase(month(0)), phase(month(0, 11), { planId: 'b' }), phase(month(1, 11))]
    expect(windowAt(month(0, 5), longer)).toEqual(['2023-11-01', '2023-12-01', '2023-11-11', 13_333n])
    expect(windowAt(month(1, 15), longer)[0]).toBe('2023-12-11')
  })

  test('goes on over changes of quantities and add-ons, and is that of an add-on too', () => {
    const addOns = [{ planId: 'a', quantity: '1' }]
    const phases = [phase(month(0)), phase(month(1), { quantities: { seats: '2' } })]
    expect(windowAt(month(1), phases)[0]).toBe('2023-11-01')
    const beside = [phase(month(0), { planId: 'b' }), phase(month(1), { planId: 'b', addOns }), phase(month(2))]
    expect(windowAt(month(3), beside)).toEqual(['2023-12-01', '2024-03-01', '2024-03-01', 120_000n])
  })

  test('tiles the time of a plan: what is committed to in parts of it is the whole, prorated', () => {
    const day = fc.integer({ min: 0, max: 500 })
    fc.assert(
      fc.property(day, fc.integer({ min: 1, max: 12 }), (days, count) => {
        const endMs = MONTHLY.startMs + (days + 1) * 86_400_000
        const of = { ...price, commitment_periods: count }
        let atMs: number = MONTHLY.startMs
        let committedMinor = 0n
        const windows: number[] = []
        while (atMs < endMs) {
          const agreed = { planId: 'a', phases: null, terms: { ...MONTHLY, endMs } }
          const window = commitmentWindow(agreed, 'a', of, atMs, BASIS, 'USD')
          expect(window.startMs).toBe(atMs)
          committedMinor += window.committedMinor
          windows.push(atMs)
          atMs = window.endMs
        }
        expect(atMs).toBe(endMs)
        // Months that are whole, and the days of the last one.
        const last = new Date(endMs)
        const whole = (last.getUTCFullYear() - 2023) * 12 + last.getUTCMonth() - 10
        const length = new Date(Date.UTC(last.getUTCFullYear(), last.getUTCMonth() + 1, 0)).getUTCDate()
        const expected = (120_000 * (whole + (last.getUTCDate() - 1) / length)) / count
        expect(Math.abs(Number(committedMinor) - expected)).toBeLessThanOrEqual(windows.length)
      }),
    )
  })
})
