import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CreditableLine, CreditNoteLine } from '../../../../invoicer/collection/credit-notes/credit-note.ts'
import {
  afterCredit,
  creditAll,
  creditGross,
  creditNet,
  creditPart,
  restOf,
} from '../../../../invoicer/collection/credit-notes/split-credit.ts'

const lineOf = (lineIndex: number, netMinor: bigint, taxMinor: bigint): CreditableLine => ({
  ...{ lineIndex, netMinor, taxMinor },
  ...{ taxInside: false, creditedNetMinor: 0n, creditedTaxMinor: 0n },
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
})
