import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../schemas/http/problem.ts'
import {
  allocate,
  currencies,
  currencyExponent,
  formatMoney,
  isCurrency,
  moneyAsQuantity,
  parseMoney,
  roundToMinor,
  roundToMinorOfAnySize,
} from '../../schemas/money.ts'
import { parseQuantity, quantityOfInteger } from '../../schemas/quantity.ts'

const currency = fc.constantFrom(...currencies())
const amountMinor = fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)

describe('currencies (ISO 4217)', () => {
  test.each([
    ['JPY', 0],
    ['USD', 2],
    ['EUR', 2],
    ['MGA', 2],
    ['KWD', 3],
    ['CLF', 4],
  ])('%s has %i decimals', (code, exponent) => {
    expect(currencyExponent(code)).toBe(exponent)
  })

  test('the table holds 165 codes, each of three capitals', () => {
    expect(currencies()).toHaveLength(165)
    expect(currencies().filter((code) => !/^[A-Z]{3}$/.test(code))).toEqual([])
  })

  test('ICU has a name for every code of the table, but for those newer than itself', () => {
    const names = new Intl.DisplayNames('en', { type: 'currency', fallback: 'none' })
    const newest = ['XCG', 'ZWG', 'XAD']
    expect(currencies().filter((code) => names.of(code) === undefined && !newest.includes(code))).toEqual([])
  })

  test.each(['usd', 'XAU', 'DEM', '', '__proto__', 'constructor'])('%j is refused', (code) => {
    expect(isCurrency(code)).toBe(false)
    expect(() => currencyExponent(code)).toThrow(Problem)
  })
})

describe('money as text', () => {
  test.each([
    [2000n, 'USD', '20.00'],
    [-5n, 'USD', '-0.05'],
    [0n, 'USD', '0.00'],
    [1023n, 'JPY', '1023'],
    [-7n, 'JPY', '-7'],
    [1n, 'KWD', '0.001'],
    [123_456n, 'CLF', '12.3456'],
  ])('%s minor units of %s are %s', (minor, code, text) => {
    expect(formatMoney(minor, code)).toBe(text)
    expect(parseMoney(text, code)).toBe(minor)
  })

  test('text and minor units convert back and forth for every currency', () => {
    fc.assert(
      fc.property(amountMinor, currency, (minor, code) => {
        expect(parseMoney(formatMoney(minor, code), code)).toBe(minor)
        expect(roundToMinor(moneyAsQuantity(minor, code), code)).toBe(minor)
        expect(parseQuantity(formatMoney(minor, code)).equals(moneyAsQuantity(minor, code))).toBe(true)
      }),
    )
  })

  test.each([
    ['10.275', 'USD'],
    ['1.5', 'JPY'],
    ['1e2', 'USD'],
    ['', 'USD'],
    ['$1', 'USD'],
  ])('%j is no amount in %s: nothing is rounded in passing', (text, code) => {
    expect(() => parseMoney(text, code)).toThrow(/is not an amount in/)
  })

  test('zeros beyond the minor unit do no harm', () => {
    expect(parseMoney('20.5000', 'USD')).toBe(2050n)
    expect(parseMoney('20', 'USD')).toBe(2000n)
  })
})

describe('rounding to the minor unit', () => {
  test('what is only shown is rounded the same, and may be larger than what can be stored', () => {
    expect(roundToMinorOfAnySize(parseQuantity('-0.005'), 'USD')).toBe(-1n)
    expect(roundToMinorOfAnySize(parseQuantity(`${'9'.repeat(26)}.5`), 'JPY')).toBe(10n ** 26n)
  })

  test.each([
    ['R10', '10.275', 'USD', '10.28'],
    ['R10', '1023.45', 'JPY', '1023'],
    ['R10', '1023.5', 'JPY', '1024'],
    ['R10', '0.004', 'USD', '0.00'],
    ['R10', '0.005', 'USD', '0.01'],
    ['away from zero', '-0.005', 'USD', '-0.01'],
    ['away from zero', '-0.004999999999', 'USD', '0.00'],
    ['away from zero', '-1023.5', 'JPY', '-1024'],
    ['12 places', '0.004999999999', 'USD', '0.00'],
  ])('%s: %s %s becomes %s', (_id, exact, code, rounded) => {
    expect(formatMoney(roundToMinor(parseQuantity(exact), code), code)).toBe(rounded)
  })

  test('R10: three lines of 10.333333 have a subtotal of 30.99, the sum of rounded lines', () => {
    const lines = Array.from({ length: 3 }, () => roundToMinor(parseQuantity('10.333333'), 'USD'))
    expect(formatMoney(lines[0]! + lines[1]! + lines[2]!, 'USD')).toBe('30.99')
  })

  test('is half-up away from zero, as integer arithmetic has it, for any decimal', () => {
    fc.assert(
      fc.property(fc.bigInt(-9n * 10n ** 26n, 9n * 10n ** 26n), currency, (scaled, code) => {
        const unit = 10n ** BigInt(12 - currencyExponent(code))
        const magnitude = ((scaled < 0n ? -scaled : scaled) * 2n + unit) / (2n * unit)
        const rounded = roundToMinor(quantityOfInteger(scaled).div('1000000000000'), code)
        expect(rounded).toBe(scaled < 0n ? -magnitude : magnitude)
      }),
      { numRuns: 2000 },
    )
  })

  test('what a 64-bit column cannot hold is refused, not cut', () => {
    expect(roundToMinor(parseQuantity('92233720368547758.07'), 'USD')).toBe(2n ** 63n - 1n)
    expect(() => roundToMinor(parseQuantity('92233720368547758.075'), 'USD')).toThrow(/too large to be stored/)
    expect(() => parseMoney('92233720368547758.08', 'USD')).toThrow(/too large an amount/)
  })

  test('halves of a cent, where binary floats fail, all go away from zero', () => {
    for (let cents = 0n; cents < 2000n; cents += 1n) {
      const text = `${formatMoney(cents, 'USD')}5`
      expect(roundToMinor(parseQuantity(text), 'USD')).toBe(cents + 1n)
      expect(roundToMinor(parseQuantity(`-${text}`), 'USD')).toBe(-cents - 1n)
    }
  })
})

describe('splitting an amount (billing-rules, Numbers: largest remainder, ties by line order)', () => {
  test.each([
    ['a tie goes to the earlier', 100n, [1n, 1n, 1n], [34n, 33n, 33n]],
    ['two left over', 101n, [1n, 1n, 1n], [34n, 34n, 33n]],
    ['the largest remainder first', 10n, [1n, 8n, 6n], [1n, 5n, 4n]],
    ['no weight, no part', 5n, [0n, 1n, 0n], [0n, 5n, 0n]],
    ['a negative total mirrors', -100n, [1n, 1n, 1n], [-34n, -33n, -33n]],
    ['nothing over nothing', 0n, [0n, 0n], [0n, 0n]],
    ['nothing over no lines', 0n, [], []],
  ])('%s', (_name, total, weights, parts) => {
    expect(allocate(total, weights)).toEqual(parts)
  })

  test('something over nothing, or over a negative weight, is a failed calculation', () => {
    expect(() => allocate(1n, [])).toThrow(Problem)
    expect(() => allocate(1n, [0n, 0n])).toThrow(/sum to 0/)
    expect(() => allocate(1n, [2n, -1n])).toThrow(/negative weight/)
  })

  test('parts sum to the whole, lie within one unit of the exact share, and never turn the order of weights', () => {
    const weights = fc
      .array(fc.bigInt(0n, 10n ** 15n), { minLength: 1, maxLength: 30 })
      .filter((list) => list.some((weight) => weight > 0n))
    fc.assert(
      fc.property(amountMinor, weights, (total, list) => {
        const parts = allocate(total, list)
        const weightSum = list.reduce((a, b) => a + b, 0n)
        expect(parts.reduce((a, b) => a + b, 0n)).toBe(total)
        for (const [index, part] of parts.entries()) {
          const error = part * weightSum - total * list[index]!
          expect(error < weightSum && error > -weightSum).toBe(true)
          for (const [other, otherPart] of parts.entries()) {
            if (total > 0n && list[index]! > list[other]!) expect(part >= otherPart).toBe(true)
          }
        }
      }),
    )
  })
})
