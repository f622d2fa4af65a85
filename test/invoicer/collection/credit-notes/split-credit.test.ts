import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CreditableLine, CreditNoteLine } from '../../../../invoicer/collection/credit-notes/credit-note.ts'
import {
  afterCredit,
  creditAll,
  creditGross,
  creditLowered,
  creditNet,
  creditPart,
  loweredLine,
  restOf,
  restOfAll,
} from '../../../../invoicer/collection/credit-notes/split-credit.ts'

const lineOf = (lineIndex: number, netMinor: bigint, taxMinor: bigint): CreditableLine => ({
  ...{ lineIndex, netMinor, taxMinor },
  ...{ taxInside: false, lowersLine: null, creditedNetMinor: 0n, creditedTaxMinor: 0n },
})
const apply = (lines: readonly CreditableLine[], taken: readonly CreditNoteLine[]) =>
  lines.map((line) => taken.filter(({ lineIndex }) => lineIndex === line.lineIndex).reduce(afterCredit, line))
const sumOf = (taken: readonly CreditNoteLine[]) =>
  taken.reduce((sum, { netMinor, taxMinor }) => sum + netMinor + taxMinor, 0n)
const restsOf = (lines: readonly CreditableLine[]) => lines.map((line) => restOf(line).grossMinor)

const line = fc.record({ net: fc.bigInt({ min: 0n, max: 9_999n }), percent: fc.constantFrom(0n, 7n, 19n, 24n) })
const positive = fc
  .array(line, { minLength: 1, maxLength: 5 })
  .map((all) => all.map(({ net, percent }, index) => lineOf(index, net, (net * percent + 50n) / 100n)))
/** Thousandths of what is left, and how it is asked for. */
const steps = fc.array(
  fc.record({ share: fc.bigInt({ min: 1n, max: 1_000n }), way: fc.constantFrom('part', 'gross', 'net'), at: fc.nat() }),
  { maxLength: 8 },
)

describe('credit notes on an invoice', () => {
  test('sum to it exactly when the last one takes what is left, line by line, tax included', () => {
    fc.assert(
      fc.property(positive, steps, (lines, wanted) => {
        let left = lines
        for (const { share, way, at } of wanted) {
          const one = left[at % left.length]!
          const rest = way === 'part' ? restsOf(left).reduce((sum, minor) => sum + minor, 0n) : restOf(one).grossMinor
          const amountMinor = ((way === 'net' ? restOf(one).netMinor : rest) * share) / 1_000n
          if (amountMinor === 0n) continue
          const taken =
            way === 'part'
              ? creditPart(left, amountMinor)
              : [way === 'net' ? creditNet(one, amountMinor) : creditGross(one, amountMinor)]
          if (way === 'net') expect(taken[0]!.netMinor).toBe(amountMinor)
          else expect(sumOf(taken)).toBe(amountMinor)
          expect(taken.every(({ netMinor, taxMinor }) => netMinor >= 0n && taxMinor >= 0n)).toBe(true)
          left = apply(left, taken)
          for (const { netMinor, taxMinor } of left.map(restOf)) expect(netMinor >= 0n && taxMinor >= 0n).toBe(true)
        }
        const last = apply(left, creditAll(left))
        expect(last.map(({ creditedNetMinor }) => creditedNetMinor)).toEqual(lines.map(({ netMinor }) => netMinor))
        expect(last.map(({ creditedTaxMinor }) => creditedTaxMinor)).toEqual(lines.map(({ taxMinor }) => taxMinor))
      }),
    )
  })

  test('take lines below 0 with the last one, so that all of them come to the total', () => {
    const lines = [lineOf(0, 10_000n, 1_900n), lineOf(1, -2_000n, -380n)]
    const first = creditPart(lines, 5_000n)
    expect(first).toEqual([{ lineIndex: 0, netMinor: 4_202n, taxMinor: 798n }])
    const left = apply(lines, first)
    expect(sumOf(creditPart(left, 4_520n))).toBe(4_520n)
    expect(creditPart(left, 4_520n)).toEqual(creditAll(left))
  })

  test('are refused beyond what is left of a line', () => {
    const [one] = apply([lineOf(0, 100n, 24n)], [creditGross(lineOf(0, 100n, 24n), 100n)])
    expect(() => creditGross(one!, 25n)).toThrow('cannot be credited')
    expect(() => creditGross(one!, 0n)).toThrow('cannot be credited')
    expect(restOf(apply([one!], [creditGross(one!, 24n)])[0]!)).toEqual({ netMinor: 0n, taxMinor: 0n, grossMinor: 0n })
  })

  test('of a discounted line never take more tax than is left of it behind its discounts', () => {
    // 0.04 of 100.00 are left, whose tax came to 0.00, because it was rounded per invoice.
    const lines = [lineOf(0, 10_000n, 2_400n), { ...lineOf(1, -9_996n, -2_400n), lowersLine: 0 }]
    expect(creditLowered(loweredLine(lines[0]!, lines), 3n)).toEqual([{ lineIndex: 0, netMinor: 3n, taxMinor: 0n }])
  })

  test('of lines with discounts never give back more than these left, and in the end exactly that', () => {
    // As rounding per line and per invoice makes them: what is left has its tax rounded down or up, each discount the
    // difference that it makes, and the line the rest (tax/tax-amounts.ts).
    const discounted = fc
      .array(
        fc.record({
          net: fc.bigInt({ min: 0n, max: 9_999n }),
          off: fc.array(fc.bigInt({ min: 0n, max: 50n }), { maxLength: 2 }),
          isUp: fc.boolean(),
        }),
        { minLength: 1, maxLength: 4 },
      )
      .map((all) => {
        const half = (net: bigint) => (net * 24n + 50n) / 100n
        const offs = all.map(({ net, off }) =>
          off.map((percent) => (net * percent) / 100n).filter((minor) => minor > 0n),
        )
        const taxesOff = offs.map((minors, place) => {
          let left = all[place]!.net
          return minors.map((minor) => {
            left -= minor
            return half(left + minor) - half(left)
          })
        })
        const sum = (minors: readonly bigint[]) => minors.reduce((total, minor) => total + minor, 0n)
        const lines = all.map(({ net, isUp }, place) => {
          const leftTax = ((net - sum(offs[place]!)) * 24n + (isUp ? 99n : 0n)) / 100n
          return lineOf(place, net, leftTax + sum(taxesOff[place]!))
        })
        const discounts = offs.flatMap((minors, lowersLine) =>
          minors.map((minor, place) => ({ ...lineOf(0, -minor, -taxesOff[lowersLine]![place]!), lowersLine })),
        )
        return [...lines, ...discounts.map((one, place) => ({ ...one, lineIndex: lines.length + place }))]
      })
    const wanted = fc.array(fc.record({ share: fc.bigInt({ min: 1n, max: 1_000n }), at: fc.option(fc.nat()) }), {
      maxLength: 6,
    })
    fc.assert(
      fc.property(discounted, wanted, (lines, all) => {
        let left = lines
        const own = () => left.filter(({ lowersLine }) => lowersLine === null)
        const restOfInvoice = () => restsOf(left).reduce((sum, minor) => sum + minor, 0n)
        for (const { share, at } of all) {
          const lowered = loweredLine(own()[(at ?? 0) % own().length]!, left)
          const restMinor = at === null ? restOfInvoice() : restOfAll(lowered).grossMinor
          const amountMinor = (restMinor * share) / 1_000n
          if (amountMinor <= 0n) continue
          const taken = at === null ? creditPart(left, amountMinor) : creditLowered(lowered, amountMinor)
          expect(sumOf(taken)).toBe(amountMinor)
          left = apply(left, taken)
          for (const line of own()) {
            const { netMinor, taxMinor } = restOfAll(loweredLine(line, left))
            expect(netMinor >= 0n && taxMinor >= 0n).toBe(true)
          }
        }
        const last = apply(left, creditAll(left))
        expect(last.map(({ creditedNetMinor }) => creditedNetMinor)).toEqual(lines.map(({ netMinor }) => netMinor))
        expect(last.map(({ creditedTaxMinor }) => creditedTaxMinor)).toEqual(lines.map(({ taxMinor }) => taxMinor))
      }),
    )
  })
})
