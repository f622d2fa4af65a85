import fc from 'fast-check'
import { Compile } from 'typebox/compile'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../schemas/http/problem.ts'
import {
  formatQuantity,
  isQuantityText,
  isWireQuantity,
  parseQuantity,
  parseSum,
  QuantityText,
  quantityFromJson,
  tryQuantityFromJson,
} from '../../schemas/quantity.ts'

/** A decimal of the wire as sign, whole part and 12 decimals, so that BigInt can be the second implementation. */
const wireDecimal = fc.record({
  negative: fc.boolean(),
  whole: fc.bigInt(0n, 10n ** 26n - 1n),
  fraction: fc.bigInt(0n, 10n ** 12n - 1n),
})
type WireDecimal = { negative: boolean; whole: bigint; fraction: bigint }
const SCALE = 10n ** 12n
const textOf = ({ negative, whole, fraction }: WireDecimal) =>
  `${negative ? '-' : ''}${whole}.${fraction.toString().padStart(12, '0')}`
const scaledOf = ({ negative, whole, fraction }: WireDecimal) => (negative ? -1n : 1n) * (whole * SCALE + fraction)

describe('a quantity as text (billing-rules, Numbers)', () => {
  test.each(['0', '-1', '000.50', '0.000000000001', '9'.repeat(26), `-${'9'.repeat(26)}.${'9'.repeat(12)}`])(
    '%s is taken',
    (text) => {
      expect(() => parseQuantity(text)).not.toThrow()
      expect(Compile(QuantityText).Check(text)).toBe(true)
    },
  )

  test.each(['', ' 1', '1 ', '1\n', '+1', '.5', '5.', '1e3', 'NaN', 'Infinity', '0x10', '1,5', '1_0', '--1', '١'])(
    '%j is refused',
    (text) => {
      expect(() => parseQuantity(text)).toThrow(Problem)
      expect(tryQuantityFromJson(text)).toBeUndefined()
      expect(Compile(QuantityText).Check(text)).toBe(false)
    },
  )

  test('27 digits before or 13 after the point are refused, with a problem that quotes them', () => {
    expect(() => parseQuantity('1'.repeat(27))).toThrow(/"1{27}" is not a decimal/)
    expect(() => parseQuantity(`0.${'1'.repeat(13)}`)).toThrow(/26 digits before and 12 after/)
    expect(() => parseQuantity('x'.repeat(1_000_000))).toThrow(/^"x{60}…"/)
  })

  test.each([
    ['1.500', '1.5'],
    ['007', '7'],
    ['-0', '0'],
    ['-0.000', '0'],
    ['100', '100'],
    ['0.000000000001', '0.000000000001'],
    [`1${'0'.repeat(25)}`, `1${'0'.repeat(25)}`],
  ])('%s is written canonically as %s', (text, canonical) => {
    expect(formatQuantity(parseQuantity(text))).toBe(canonical)
  })

  test('products and sums of the longest quantities are exact, digit by digit as in BigInt', () => {
    fc.assert(
      fc.property(wireDecimal, wireDecimal, (a, b) => {
        const [x, y] = [parseQuantity(textOf(a)), parseQuantity(textOf(b))]
        const product = x.times(y).times('1000000000000').times('1000000000000')
        expect(BigInt(product.toFixed())).toBe(scaledOf(a) * scaledOf(b))
        expect(BigInt(x.plus(y).times('1000000000000').toFixed())).toBe(scaledOf(a) + scaledOf(b))
      }),
      { numRuns: 2000 },
    )
  })

  test('the canonical text parses to the same quantity and to the same text', () => {
    fc.assert(
      fc.property(wireDecimal, (decimal) => {
        const quantity = parseQuantity(textOf(decimal))
        const text = formatQuantity(quantity)
        expect(parseQuantity(text).equals(quantity)).toBe(true)
        expect(formatQuantity(parseQuantity(text))).toBe(text)
        expect(text).toMatch(/^(0|-?(0|[1-9]\d*)(\.\d*[1-9])?)$/)
      }),
    )
  })
})

describe('whether a quantity fits the wire is asked of its digits', () => {
  test('it says what its text says', () => {
    const digits = fc.string({ unit: fc.constantFrom('0', '1', '9'), minLength: 1, maxLength: 30 })
    const parts = fc.tuple(fc.constantFrom('', '-'), digits, fc.option(digits))
    fc.assert(
      fc.property(parts, ([sign, before, after]) => {
        const quantity = parseSum(`${sign}${before}${after === null ? '' : `.${after}`}`)
        expect(isWireQuantity(quantity)).toBe(isQuantityText(formatQuantity(quantity)))
      }),
    )
  })
})

describe('a quantity as a JSON number (billing-rules, Numbers)', () => {
  test.each([
    ['0.1', '0.1'],
    ['1e3', '1000'],
    ['1e25', `1${'0'.repeat(25)}`],
    ['123456789012345', '123456789012345'],
    ['0.000000000001', '0.000000000001'],
    ['-2.5', '-2.5'],
    ['0.1000000000000000055', '0.1'],
  ])('%s counts as %s', (json, canonical) => {
    expect(formatQuantity(quantityFromJson(JSON.parse(json)))).toBe(canonical)
  })

  test.each(['1e400', '-1e400', '-0', '0.30000000000000004', '9007199254740993', '1234567890123456', '1e26', '1e-13'])(
    '%s is refused: send it as a string',
    (json) => {
      expect(() => quantityFromJson(JSON.parse(json))).toThrow(/send it as a string/)
      expect(tryQuantityFromJson(JSON.parse(json))).toBeUndefined()
    },
  )

  test('NaN and values that are neither number nor text are refused', () => {
    for (const value of [Number.NaN, null, undefined, true, {}, [], ['1'], 1n, { toString: () => '1' }]) {
      expect(tryQuantityFromJson(value)).toBeUndefined()
    }
  })

  test('any double is either refused or counts as exactly the decimal of its shortest form', () => {
    fc.assert(
      fc.property(fc.double(), (value) => {
        const quantity = tryQuantityFromJson(value)
        if (quantity === undefined) return
        expect(Number(formatQuantity(quantity))).toBe(value)
        const digits = String(value)
          .replace(/e.*$/, '')
          .replace(/[-.]/g, '')
          .replace(/^0+|0+$/g, '')
        expect(digits.length).toBeLessThanOrEqual(15)
      }),
      { numRuns: 5000 },
    )
  })

  test('every decimal of up to 15 digits within the wire form is taken as written', () => {
    fc.assert(
      fc.property(fc.integer({ min: -999_999_999_999_999, max: 999_999_999_999_999 }), fc.nat(12), (digits, places) => {
        fc.pre(digits !== 0)
        const text = formatQuantity(parseQuantity(String(digits)).div(`1${'0'.repeat(places)}`))
        expect(formatQuantity(quantityFromJson(JSON.parse(text)))).toBe(text)
      }),
    )
  })
})
