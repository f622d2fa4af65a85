import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type DiscountableLine,
  discountParts,
  type InvoiceDiscount,
} from '../../../../invoicer/billing/discounts/discount-parts.ts'

const line = (chargeKey: string, amountMinor: bigint, type = 'flat'): DiscountableLine => ({
  chargeKey,
  amountMinor,
  breakdown: [{ type } as DiscountableLine['breakdown'][number]],
})
const percent = (id: string, value: string, charges: string[] | null = null): InvoiceDiscount => ({
  ...{ id, couponKey: id, charges, percent: value, amountMinor: null, currency: null },
})
const amount = (id: string, amountMinor: bigint, charges: string[] | null = null): InvoiceDiscount => ({
  ...{ id, couponKey: id, charges, percent: null, amountMinor, currency: 'USD' },
})
const taken = (lines: DiscountableLine[], discounts: InvoiceDiscount[], currency = 'USD') =>
  discountParts(lines, discounts, currency).map(({ discount, lowers, amountMinor }) => [
    discount.id,
    lowers,
    amountMinor,
  ])

describe('discounts on the lines of an invoice (issue 7)', () => {
  test('20 % and 10.00 off three lines: each rounded once and split by largest remainder, ties to the earlier line', () => {
    const lines = [line('a', 3_333n), line('b', 3_333n), line('c', 3_334n)]
    expect(taken(lines, [amount('1', 1_000n), percent('2', '20')])).toEqual([
      ['2', 0, 667n],
      ['2', 1, 666n],
      ['2', 2, 667n],
      // Of 26.66, 26.67 and 26.67 that are left.
      ['1', 0, 333n],
      ['1', 1, 334n],
      ['1', 2, 333n],
    ])
    expect(discountParts(lines, [percent('2', '20')], 'USD')[0]?.entry).toEqual({
      ...{ type: 'coupon', coupon: '2', percent: '20', of: '100.00', taken: '20.00', left: '33.33', amount: '-6.67' },
    })
  })

  test('of JPY, which has no minor unit, whole yen come off', () => {
    expect(taken([line('a', 333n), line('b', 334n)], [percent('p', '12.5')], 'JPY')).toEqual([
      ['p', 0, 41n],
      ['p', 1, 42n],
    ])
  })

  test('those of named charges come first, then those of all lines; percentages before amounts; then by age', () => {
    const lines = [line('a', 10_000n), line('b', 10_000n)]
    const discounts = [amount('1', 1_000n), percent('2', '50'), amount('3', 3_000n, ['b']), percent('4', '10', ['b'])]
    expect(taken(lines, discounts)).toEqual([
      ['4', 1, 1_000n],
      ['3', 1, 3_000n],
      ['2', 0, 5_000n],
      ['2', 1, 3_000n],
      ['1', 0, 625n],
      ['1', 1, 375n],
    ])
  })

  test('a one-time item with the key of a charge is none of it, and is lowered with all lines', () => {
    const lines = [line('a', 1_000n), line('a', 500n, 'one_time')]
    expect(taken(lines, [percent('c', '10', ['a'])])).toEqual([['c', 0, 100n]])
    expect(taken(lines, [percent('c', '10')])).toEqual([
      ['c', 0, 100n],
      ['c', 1, 50n],
    ])
  })

  test('late usage and fees that are given back have their own discounts inside, and are neither lowered nor counted', () => {
    const lines = [line('a', 1_000n), line('a', 5_000n, 'adjustment'), line('f', -5_000n, 'fee_difference')]
    // The invoice without that stays at 0, and what is given back of the fee is given back.
    expect(taken(lines, [amount('c', 2_000n)])).toEqual([['c', 0, 1_000n]])
  })

  test('what is given by a line below 0 is not given twice: the invoice stays at 0 or above', () => {
    expect(taken([line('a', 1_000n), line('gift', -800n, 'one_time')], [percent('c', '50')])).toEqual([['c', 0, 200n]])
    expect(taken([line('a', 1_000n), line('gift', -1_800n, 'one_time')], [percent('c', '50')])).toEqual([])
  })

  const anyLine = fc.record({
    chargeKey: fc.constantFrom('a', 'b', 'c'),
    amountMinor: fc.bigInt({ min: -2_000n, max: 20_000n }),
    type: fc.constantFrom('flat', 'flat', 'one_time', 'adjustment', 'fee_difference'),
  })
  const anyDiscount = fc.record({
    off: fc.oneof(
      fc.integer({ min: 1, max: 100_000 }).map((thousandths) => ({ percent: String(thousandths / 1_000) })),
      fc.bigInt({ min: 1n, max: 30_000n }).map((amountMinor) => ({ amountMinor })),
    ),
    charges: fc.option(fc.uniqueArray(fc.constantFrom('a', 'b'), { minLength: 1 })),
  })
  const invoice = fc.tuple(
    fc.array(anyLine, { maxLength: 8 }).map((all) => all.map((one) => line(one.chargeKey, one.amountMinor, one.type))),
    fc
      .array(anyDiscount, { maxLength: 5 })
      .map((all) =>
        all.map(({ off, charges }, id) =>
          'percent' in off ? percent(`${id}`, off.percent, charges) : amount(`${id}`, off.amountMinor, charges),
        ),
      ),
  )

  test('parts sum to the whole of each discount, and take no line below 0, nor an invoice but for what it corrects', () => {
    fc.assert(
      fc.property(invoice, ([lines, discounts]) => {
        const parts = discountParts(lines, discounts, 'USD')
        const sumOf = (minors: bigint[]) => minors.reduce((sum, minor) => sum + minor, 0n)
        for (const { id, amountMinor } of discounts) {
          const own = parts.filter(({ discount }) => discount.id === id)
          const whole = sumOf(own.map((part) => part.amountMinor))
          if (own[0] !== undefined)
            expect(`${whole / 100n}.${String(whole % 100n).padStart(2, '0')}`).toBe(own[0].entry.taken)
          if (amountMinor !== null) expect(whole <= amountMinor).toBe(true)
        }
        for (const [place, { amountMinor, breakdown }] of lines.entries()) {
          const off = sumOf(parts.filter(({ lowers }) => lowers === place).map((part) => part.amountMinor))
          expect(off >= 0n && (off === 0n || (off <= amountMinor && breakdown[0]?.type !== 'adjustment'))).toBe(true)
          if (breakdown[0]?.type === 'fee_difference' && amountMinor < 0n) expect(off).toBe(0n)
        }
        const before = sumOf(
          lines
            .filter(({ amountMinor, breakdown: [entry] }) => {
              return entry?.type !== 'adjustment' && (entry?.type !== 'fee_difference' || amountMinor > 0n)
            })
            .map(({ amountMinor }) => amountMinor),
        )
        const off = sumOf(parts.map(({ amountMinor }) => amountMinor))
        expect(off === 0n || off <= before).toBe(true)
      }),
    )
  })

  test('in whatever order discounts are named, the same comes off', () => {
    const shuffled = invoice.chain(([lines, discounts]) =>
      fc.tuple(
        fc.constant(lines),
        fc.constant(discounts),
        fc.shuffledSubarray(discounts, { minLength: discounts.length }),
      ),
    )
    fc.assert(
      fc.property(shuffled, ([lines, discounts, other]) => {
        expect(discountParts(lines, other, 'USD')).toEqual(discountParts(lines, discounts, 'USD'))
      }),
    )
  })
})
