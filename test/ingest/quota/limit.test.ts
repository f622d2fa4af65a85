import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatMicro, toMicro, toMicroFloor, windowOf } from '../../../ingest/quota/limit.ts'
import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'

/** A quantity on the wire: up to 26 digits before and 12 after the point. */
const quantityText = fc
  .tuple(fc.bigInt({ min: 0n, max: 10n ** 26n - 1n }), fc.option(fc.stringMatching(/^[0-9]{1,12}$/)))
  .map(([whole, fraction]) => (fraction === null ? String(whole) : `${whole}.${fraction}`))

describe('micro-units', () => {
  test.each([
    ['0', 0n, 0n],
    ['1', 1_000_000n, 1_000_000n],
    ['0.000001', 1n, 1n],
    ['0.0000001', 1n, 0n],
    ['0.000000000001', 1n, 0n],
    ['1.9999995', 2_000_000n, 1_999_999n],
    [
      '99999999999999999999999999',
      99_999_999_999_999_999_999_999_999_000_000n,
      99_999_999_999_999_999_999_999_999_000_000n,
    ],
  ])('%s is drawn as %s and limited to %s', (text, up, down) => {
    expect([toMicro(parseQuantity(text)), toMicroFloor(parseQuantity(text))]).toEqual([up, down])
  })

  test('never too little is drawn, never too much is allowed, and both are off by less than a micro-unit', () => {
    fc.assert(
      fc.property(quantityText, (text) => {
        const quantity = parseQuantity(text)
        const [up, down] = [toMicro(quantity), toMicroFloor(quantity)]
        expect(parseQuantity(formatMicro(up)).gte(quantity)).toBe(true)
        expect(parseQuantity(formatMicro(down)).lte(quantity)).toBe(true)
        expect(up - down).toBe(quantity.decimalPlaces() > 6 ? 1n : 0n)
      }),
    )
  })

  test('a sum of draws is never below the draw of the sum', () => {
    fc.assert(
      fc.property(fc.array(quantityText, { maxLength: 20 }), (texts) => {
        const quantities = texts.map(parseQuantity)
        const drawn = quantities.reduce((sum, quantity) => sum + toMicro(quantity), 0n)
        const total = quantities.reduce((sum, quantity) => sum.plus(quantity), parseQuantity('0'))
        expect(drawn).toBeGreaterThanOrEqual(toMicro(total))
      }),
    )
  })

  test('are written as the quantity they are', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 10n ** 31n }), (micro) => {
        const text = formatMicro(micro)
        expect(toMicro(parseQuantity(text))).toBe(micro)
        expect(formatQuantity(parseQuantity(text))).toBe(text)
      }),
    )
    expect(formatMicro(1_500_000n)).toBe('1.5')
    expect(formatMicro(1n)).toBe('0.000001')
  })
})

describe('windows', () => {
  const anyTime = fc.integer({ min: Date.UTC(1970, 0, 1), max: Date.UTC(2099, 11, 31) })

  test.each([
    ['day', '2026-11-20T00:00:00.000Z', '2026-11-20T00:00:00.000Z', '2026-11-21T00:00:00.000Z'],
    ['day', '2026-11-20T23:59:59.999Z', '2026-11-20T00:00:00.000Z', '2026-11-21T00:00:00.000Z'],
    ['day', '2024-02-29T12:00:00.000Z', '2024-02-29T00:00:00.000Z', '2024-03-01T00:00:00.000Z'],
    ['month', '2026-12-31T23:59:59.999Z', '2026-12-01T00:00:00.000Z', '2027-01-01T00:00:00.000Z'],
    ['month', '2024-02-29T00:00:00.000Z', '2024-02-01T00:00:00.000Z', '2024-03-01T00:00:00.000Z'],
  ] as const)('the %s of %s, in UTC', (period, time, start, end) => {
    expect(windowOf(Date.parse(time), period)).toEqual({ startMs: Date.parse(start), endMs: Date.parse(end) })
  })

  test('a time lies in its window, and windows follow each other without gap or overlap', () => {
    fc.assert(
      fc.property(anyTime, fc.constantFrom('day' as const, 'month' as const), (timeMs, period) => {
        const { startMs, endMs } = windowOf(timeMs, period)
        expect(startMs <= timeMs && timeMs < endMs).toBe(true)
        expect(windowOf(startMs, period)).toEqual({ startMs, endMs })
        expect(windowOf(endMs - 1, period)).toEqual({ startMs, endMs })
        expect(windowOf(endMs, period).startMs).toBe(endMs)
      }),
    )
  })
})
