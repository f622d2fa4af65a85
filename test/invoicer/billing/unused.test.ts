import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { proratedMinor } from '../../../invoicer/billing/proration.ts'
import { lengthOf, type ProrationBasis, partMinor, type Span, unusedMinor } from '../../../invoicer/billing/unused.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import { ODD_ZONES } from '../../support/odd-zones.ts'
import { runs } from '../../support/runs.ts'

const at = (text: string) => Date.parse(text)
const span = (start: string, end: string): Span => ({ startMs: at(start), endMs: at(end) })
const SECONDS: ProrationBasis = { unit: 'second', zone: 'UTC' }
const DAYS: ProrationBasis = { unit: 'day', zone: 'UTC' }
const MARCH = span('2024-03-01T00:00Z', '2024-04-01T00:00Z')
const DAY_MS = 86_400_000
const MINUTE_MS = 60_000

/** billing-rules, Proration: `unused(t) = round(amount × (end − t) ÷ length)`, by the second or by the day. */
describe('what is unused of a fee', () => {
  test('P1: a day after the start of 30, 4.83 of 5 are unused, and 19.33 of 20', () => {
    const april = span('2024-04-01T00:00Z', '2024-05-01T00:00Z')
    const second = at('2024-04-02T00:00Z')
    expect(unusedMinor(parseQuantity('5'), second, april, SECONDS, 'USD')).toBe(483n)
    expect(unusedMinor(parseQuantity('20'), second, april, SECONDS, 'USD')).toBe(1933n)
  })

  test('P3: after a trial that ends on the 15th at 12:12, 17 of 31 days of 50,000.00 are 27,419.35', () => {
    const trialEnd = at('2024-03-15T12:12Z')
    const fee = parseQuantity('50000')
    expect(unusedMinor(fee, trialEnd, MARCH, DAYS, 'USD')).toBe(2_741_935n)
    expect(partMinor(fee, { startMs: trialEnd, endMs: MARCH.endMs }, MARCH, DAYS, 'USD')).toBe(2_741_935n)
    // By the second it is less: the day's first 12 hours are not charged.
    expect(unusedMinor(fee, trialEnd, MARCH, SECONDS, 'USD')).toBe(2_659_946n)
  })

  test('a period of an anniversary begins and ends on the same hour: its first day counts, its last does not', () => {
    const period = span('2024-03-05T12:12Z', '2024-04-05T12:12Z')
    expect(lengthOf(period.startMs, period.endMs, DAYS)).toBe(31)
    const first = { startMs: period.startMs, endMs: at('2024-03-06T00:00Z') }
    expect(partMinor(parseQuantity('31'), first, period, DAYS, 'USD')).toBe(100n)
    const last = { startMs: at('2024-04-05T00:00Z'), endMs: period.endMs }
    expect(partMinor(parseQuantity('31'), last, period, DAYS, 'USD')).toBe(0n)
  })

  test('a tie of rounding is met exactly, away from zero', () => {
    const period = span('2024-03-01T00:00Z', '2024-03-01T00:03Z')
    expect(unusedMinor(parseQuantity('0.015'), at('2024-03-01T00:02Z'), period, SECONDS, 'USD')).toBe(1n)
    expect(unusedMinor(parseQuantity('0.014999999999'), at('2024-03-01T00:02Z'), period, SECONDS, 'USD')).toBe(0n)
  })
})

describe('the parts of a period', () => {
  const partsOf = (cuts: number[], whole: Span, basis: ProrationBasis, amount: string, currency = 'USD') => {
    const bounds = [whole.startMs, ...cuts, whole.endMs]
    return bounds.slice(1).map((endMs, place) => {
      const part = { startMs: bounds[place]!, endMs }
      return partMinor(parseQuantity(amount), part, whole, basis, currency)
    })
  }
  const sumOf = (parts: bigint[]) => parts.reduce((sum, part) => sum + part, 0n)

  test('P8: of three plan changes inside 31 days at 100.00 are four, which sum to 100.00', () => {
    const changes = ['2024-03-07T10:13Z', '2024-03-12T23:59Z', '2024-03-29T04:00Z'].map(at)
    const bySeconds = partsOf(changes, MARCH, SECONDS, '100')
    expect(bySeconds).toEqual([2073n, 1798n, 5215n, 914n])
    expect(sumOf(bySeconds)).toBe(10_000n)
    const byDays = partsOf(changes, MARCH, DAYS, '100')
    expect(byDays).toEqual([1935n, 1613n, 5484n, 968n])
    expect(sumOf(byDays)).toBe(10_000n)
  })

  test('sum to the whole wherever it is cut, by seconds and by days, in any zone and currency', () => {
    const amount = fc.bigInt(0n, 10n ** 13n).map((scaled) => parseQuantity(scaled.toString()).div(1_000_000).toFixed())
    const start = fc.integer({ min: at('2005-01-01T00:00Z') / MINUTE_MS, max: at('2035-01-01T00:00Z') / MINUTE_MS })
    const input = fc.record({
      amount,
      start,
      days: fc.integer({ min: 3, max: 370 }),
      cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 }),
      unit: fc.constantFrom('second' as const, 'day' as const),
      zone: fc.constantFrom(...ODD_ZONES),
      currency: fc.constantFrom('USD', 'JPY', 'KWD', 'CLF'),
    })
    fc.assert(
      fc.property(input, ({ amount: whole, start: minute, days, cuts, unit, zone, currency }) => {
        const period = { startMs: minute * MINUTE_MS, endMs: minute * MINUTE_MS + days * DAY_MS }
        const inner = cuts
          .map((cut) => period.startMs + Math.floor(cut * days * 24 * 60) * MINUTE_MS)
          .sort((a, b) => a - b)
        const parts = partsOf(inner, period, { unit, zone }, whole, currency)
        const basis = { unit, zone }
        expect(sumOf(parts)).toBe(unusedMinor(parseQuantity(whole), period.startMs, period, basis, currency))
        expect(unusedMinor(parseQuantity(whole), period.endMs, period, basis, currency)).toBe(0n)
        expect(parts.every((part) => part >= 0n)).toBe(true)
      }),
      { numRuns: runs(1_000) },
    )
  })

  test('by the second are what a run bills for them', () => {
    const minute = fc.integer({ min: 0, max: 31 * 24 * 60 })
    fc.assert(
      fc.property(minute, minute, fc.bigInt(0n, 10n ** 9n), (a, b, scaled) => {
        const part = {
          startMs: MARCH.startMs + Math.min(a, b) * MINUTE_MS,
          endMs: MARCH.startMs + Math.max(a, b) * MINUTE_MS,
        }
        const amount = parseQuantity(scaled.toString()).div(10_000)
        const period = { index: 0, ...part, wholeStartMs: MARCH.startMs, wholeEndMs: MARCH.endMs }
        expect(partMinor(amount, part, MARCH, SECONDS, 'USD')).toBe(proratedMinor(amount, [period], SECONDS, 'USD'))
      }),
      { numRuns: runs(300) },
    )
  })
})
