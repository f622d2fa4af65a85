import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { taxAmounts } from '../../../../invoicer/billing/tax/tax-amounts.ts'
import { exactTax, nearest, perInvoice, perLine, plus } from './second.ts'

const sum = (amounts: readonly bigint[]) => amounts.reduce((total, one) => total + one, 0n)
const size = (amount: bigint) => (amount < 0n ? -amount : amount)

const at = (amounts: readonly bigint[], rates: readonly string[] | string, inclusive = false) =>
  amounts.map((amountMinor, index) => ({
    amountMinor,
    ratePercent: typeof rates === 'string' ? rates : rates[index]!,
    inclusive,
  }))

describe('amounts of tax', () => {
  test.each([
    ['C1 of the worked cases', [1429n, 1427n], '24', [343n, 342n]],
    ['half a unit is rounded away from zero', [50n, -50n, 49n, -49n], '1', [1n, -1n, 0n, 0n]],
    ['a rate with decimals', [10_000n, 1n], '25.5', [2550n, 0n]],
    ['nothing at 0 %', [10_000n, -1n], '0', [0n, 0n]],
    ['beyond what a double holds', [9_007_199_254_740_993n], '100', [9_007_199_254_740_993n]],
  ])('per line: %s', (_, amounts, rate, expected) => {
    expect(taxAmounts(at(amounts, rate), 'per_line')).toEqual(expected)
  })

  test.each([
    ['rounded once, the earlier lines take what is left', [33n, 33n, 33n], '20', [7n, 7n, 6n]],
    ['the largest remainder first', [31n, 34n, 34n], '20', [6n, 7n, 7n]],
    ['a reversal mirrors what it takes back', [-33n, -33n, -33n], '20', [-7n, -7n, -6n]],
    ['a credit among charges', [1000n, -333n, 5n], '24', [240n, -80n, 1n]],
    ['lines that cancel each other', [33n, -33n], '20', [7n, -7n]],
    ['no lines', [], '20', []],
  ])('per invoice: %s', (_, amounts, rate, expected) => {
    expect(taxAmounts(at(amounts, rate), 'per_invoice')).toEqual(expected)
  })

  test('inside the amount it is rate ÷ (100 % + rate) of it', () => {
    expect(taxAmounts(at([12_400n, 1000n, -1000n], '24', true), 'per_line')).toEqual([2400n, 194n, -194n])
  })

  test('lines at several rates are rounded together', () => {
    const amounts = [1001n, 1001n, 1001n]
    const taxes = taxAmounts(at(amounts, ['24', '25.5', '0'], true), 'per_invoice')
    // 193.74… + 203.38… + 0 = 397.12…
    expect(taxes).toEqual([194n, 203n, 0n])
  })

  test.each(['-1', '1.0000001', 'much', ''])('%j is not a rate', (rate) => {
    expect(() => taxAmounts(at([100n], rate), 'per_line')).toThrow('is not a tax rate')
  })
})

describe('whatever the amounts and rates', () => {
  const rate = fc.oneof(
    fc.integer({ min: 0, max: 100 }).map((whole) => whole * 1_000_000),
    fc.integer({ min: 0, max: 1000 }).map((tenths) => tenths * 100_000),
    fc.integer({ min: 0, max: 100_000_000 }),
  )
  const amount = fc.oneof(fc.bigInt({ min: -300n, max: 300n }), fc.bigInt({ min: -(10n ** 14n), max: 10n ** 14n }))
  /** Inside or on top, each for itself: a correction keeps how it was. */
  const lines = fc.array(fc.record({ amount, rate, inclusive: fc.boolean() }), { maxLength: 8 })
  const textOf = (millionths: number) => {
    const digits = String(millionths).padStart(7, '0')
    return `${digits.slice(0, -6)}.${digits.slice(-6)}`
  }
  const both = (of: readonly { amount: bigint; rate: number; inclusive: boolean }[]) => {
    const taxable = of.map((line) => ({
      amountMinor: line.amount,
      ratePercent: textOf(line.rate),
      inclusive: line.inclusive,
    }))
    return {
      exact: of.map((line) => exactTax(line.amount, BigInt(line.rate), line.inclusive)),
      lines: taxAmounts(taxable, 'per_line'),
      invoice: taxAmounts(taxable, 'per_invoice'),
    }
  }

  test('both roundings agree with the second implementation', () => {
    fc.assert(
      fc.property(lines, (of) => {
        const taxes = both(of)
        expect(taxes.lines).toEqual(perLine(taxes.exact))
        expect(taxes.invoice).toEqual(perInvoice(taxes.exact))
      }),
      { numRuns: 2000 },
    )
  })

  test('parts sum to the whole, which is rounded once; no line is off by a unit; the two roundings are a unit apart', () => {
    fc.assert(
      fc.property(lines, (of) => {
        const taxes = both(of)
        expect(sum(taxes.invoice)).toBe(nearest(taxes.exact.reduce(plus, { top: 0n, bottom: 1n })))
        for (const [index, { top, bottom }] of taxes.exact.entries()) {
          const one = taxes.invoice[index]!
          expect(size(one * bottom - top) < bottom).toBe(true)
          expect(size(one - taxes.lines[index]!) <= 1n).toBe(true)
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('a reversal takes back exactly what each line was charged', () => {
    fc.assert(
      fc.property(lines, (of) => {
        const taxes = both(of)
        fc.pre(taxes.exact.reduce(plus, { top: 0n, bottom: 1n }).top !== 0n || of.length === 0)
        const reversed = both(of.map((line) => ({ ...line, amount: -line.amount })))
        expect(reversed.lines).toEqual(taxes.lines.map((one) => -one))
        expect(reversed.invoice).toEqual(taxes.invoice.map((one) => -one))
      }),
      { numRuns: 500 },
    )
  })

  test('net plus its tax is a gross amount with exactly that tax inside', () => {
    fc.assert(
      fc.property(amount, rate, (net, millionths) => {
        const [tax = 0n] = taxAmounts(at([net], textOf(millionths)), 'per_line')
        // At 0.x % a unit of net may bear no tax at all; above 0 the way back is exact.
        expect(taxAmounts(at([net + tax], textOf(millionths), true), 'per_line')).toEqual([tax])
      }),
      { numRuns: 1000 },
    )
  })

  test('an amount and what lowers it have the tax of what is left together, each of them its difference', () => {
    const lowered = fc.record({
      amount: fc.bigInt({ min: 0n, max: 100_000n }),
      rate: fc.constantFrom('0', '7', '24', '25.5'),
      takes: fc.array(fc.bigInt({ min: 0n, max: 300n }), { maxLength: 3 }),
    })
    fc.assert(
      fc.property(fc.array(lowered, { maxLength: 4 }), fc.boolean(), (of, inclusive) => {
        const own = of.map(({ amount, rate }) => ({ amountMinor: amount, ratePercent: rate, inclusive }))
        const takers = of.flatMap(({ amount, rate, takes }, lowers) =>
          takes.map((take) => ({ amountMinor: (-amount * take) / 1_000n, ratePercent: rate, inclusive, lowers })),
        )
        const left = own.map(({ amountMinor, ...rest }, place) => {
          const off = takers.filter(({ lowers }) => lowers === place).map((taker) => taker.amountMinor)
          return { ...rest, amountMinor: amountMinor + sum(off) }
        })
        for (const rounding of ['per_line', 'per_invoice'] as const) {
          const taxes = taxAmounts([...own, ...takers], rounding)
          const together = own.map((_, place) =>
            sum(taxes.filter((_, at) => at === place || takers[at - own.length]?.lowers === place)),
          )
          expect(together).toEqual(taxAmounts(left, rounding))
          if (rounding === 'per_line') expect(taxes.slice(0, own.length)).toEqual(taxAmounts(own, rounding))
        }
      }),
      { numRuns: 1000 },
    )
  })

  test('0.10 less 0.03 at 24 % bears the tax of 0.07, which two taxes rounded apart would miss by a cent', () => {
    const [line, discount] = at([10n, -3n], '24')
    expect(taxAmounts([line!, { ...discount!, lowers: 0 }], 'per_line')).toEqual([2n, 0n])
    expect(taxAmounts([line!, discount!], 'per_line')).toEqual([2n, -1n])
  })
})
