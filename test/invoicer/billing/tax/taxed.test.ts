import { describe, expect, test } from 'vitest'
import type { Draft, Line } from '../../../../invoicer/billing/lines.ts'
import { taxWhereKnown } from '../../../../invoicer/billing/tax/tax-port.ts'
import { taxed } from '../../../../invoicer/billing/tax/taxed.ts'
import { type ContextChange, contextOf } from './contexts.ts'

const SEPTEMBER = Date.UTC(2024, 8, 1)
const OCTOBER = Date.UTC(2024, 9, 1)
const DAY_MS = 86_400_000

const line = (amountMinor: bigint, change: Partial<Line> = {}): Line => ({
  planId: 'plan',
  period: { startMs: SEPTEMBER - 31 * DAY_MS, endMs: SEPTEMBER },
  chargeKey: 'use',
  description: 'Use',
  meter: null,
  amountMinor,
  breakdown: [],
  usage: null,
  ...change,
})
const draftOf = (lines: Line[]): Draft => {
  const sumMinor = lines.reduce((sum, one) => sum + one.amountMinor, 0n)
  return { lines, subtotalMinor: sumMinor, taxMinor: 0n, totalMinor: sumMinor, amountDueMinor: sumMinor }
}
const tax = (lines: Line[], change: ContextChange = {}, atMs = OCTOBER) =>
  taxed(draftOf(lines), contextOf(change), atMs)
const totals = ({ subtotalMinor, taxMinor, totalMinor, amountDueMinor }: Draft) => [
  subtotalMinor,
  taxMinor,
  totalMinor,
  amountDueMinor,
]
const rates = ({ lines }: Draft) => lines.map((one) => one.tax?.ratePercent)

describe('a draft with its tax', () => {
  test('C1: 14.29 and 24 % are 17.72, 14.27 and 24 % are 17.69', () => {
    expect(totals(tax([line(1429n)]))).toEqual([1429n, 343n, 1772n, 1772n])
    expect(totals(tax([line(1427n)]))).toEqual([1427n, 342n, 1769n, 1769n])
  })

  test('each line says its tax and why', () => {
    expect(tax([line(1429n)]).lines).toEqual([
      {
        ...line(1429n),
        tax: {
          amountMinor: 343n,
          ratePercent: '24',
          code: 'GR-VAT',
          reason: 'standard_rate',
          certificate: null,
          inclusive: false,
        },
      },
    ])
  })

  test('inclusive, the total stays and the subtotal is what is left without the tax', () => {
    const draft = tax([line(1772n), line(1000n)], { tax: { inclusive: true } })
    expect(totals(draft)).toEqual([2235n, 537n, 2772n, 2772n])
    expect(draft.lines.map((one) => [one.amountMinor, one.tax?.amountMinor])).toEqual([
      [1772n, 343n],
      [1000n, 194n],
    ])
  })

  test('per line three sixes and a half are 21, per invoice 20', () => {
    const lines = [line(33n), line(33n), line(33n)]
    const buyer = { country: 'FR', kind: 'consumer' } as const
    expect(totals(tax(lines, { buyer }))).toEqual([99n, 21n, 120n, 120n])
    const together = tax(lines, { buyer, tax: { rounding: 'per_invoice' } })
    expect(totals(together)).toEqual([99n, 20n, 119n, 119n])
    expect(together.lines.map((one) => one.tax?.amountMinor)).toEqual([7n, 7n, 6n])
  })

  test('a line has the rate of the last day of its own period; what is billed ahead that of the invoice', () => {
    const buyer = { country: 'FI' }
    const ahead = { period: { startMs: SEPTEMBER, endMs: OCTOBER } }
    expect(rates(tax([line(1n), line(1n, ahead)], { buyer }))).toEqual(['24', '25.5'])
    expect(rates(tax([line(1n, ahead)], { buyer }, SEPTEMBER - DAY_MS))).toEqual(['24'])
    // The month of a customer in Helsinki, or in Honolulu, ends where theirs does.
    const zones = [
      ['Europe/Helsinki', 3],
      ['Pacific/Honolulu', -10],
    ] as const
    for (const [zone, offsetHours] of zones) {
      const endMs = SEPTEMBER - offsetHours * 3_600_000
      const august = { startMs: endMs - DAY_MS, endMs }
      const september = { startMs: endMs, endMs: endMs + 1 }
      const draft = tax([line(1n, { period: august }), line(1n, { period: september })], { buyer: { ...buyer, zone } })
      expect(rates(draft)).toEqual(['24', '25.5'])
    }
  })

  test('a correction keeps the rate and the reason of then', () => {
    const kept = { ratePercent: '23', code: 'GR-VAT', reason: 'standard_rate', certificate: null } as const
    const draft = tax([line(1000n, { tax: { ...kept, amountMinor: 0n, inclusive: false } }), line(1000n)])
    expect(draft.lines.map((one) => one.tax?.amountMinor)).toEqual([230n, 240n])
    expect(draft.lines[0]?.tax).toMatchObject(kept)
    // Also where tax is switched off by now.
    const off = tax(draft.lines, { tax: { enabled: false } })
    expect(off.lines.map((one) => one.tax?.amountMinor)).toEqual([230n, 240n])
  })

  test('a correction is taxed inside or on top as its period was, whatever the seller has by now', () => {
    const kept = {
      ratePercent: '24',
      code: 'GR-VAT',
      reason: 'standard_rate',
      certificate: null,
      amountMinor: 0n,
    } as const
    const was = (inclusive: boolean) => line(1240n, { tax: { ...kept, inclusive } })
    // Prices held their tax, and do not any more: 10.00 + 2.40 of the correction, 10.00 + 2.40 of the new line.
    const nowOnTop = tax([line(1000n), was(true)])
    expect(totals(nowOnTop)).toEqual([2000n, 480n, 2480n, 2480n])
    expect(nowOnTop.lines.map((one) => [one.tax?.amountMinor, one.tax?.inclusive])).toEqual([
      [240n, false],
      [240n, true],
    ])
    // The other way round: 10.00 with 1.94 inside, and 12.40 + 2.98.
    const nowInside = tax([line(1000n), was(false)], { tax: { inclusive: true } })
    expect(totals(nowInside)).toEqual([2046n, 492n, 2538n, 2538n])
    expect(nowInside.lines.map((one) => [one.tax?.amountMinor, one.tax?.inclusive])).toEqual([
      [194n, true],
      [298n, false],
    ])
  })

  test('a correction of what was not taxed is not either, and nothing has to be known for it', () => {
    const before = line(1000n, { tax: null })
    expect(tax([before, line(1000n)]).lines.map((one) => one.tax?.amountMinor)).toEqual([undefined, 240n])
    expect(tax([before, line(1000n)])).toMatchObject({ subtotalMinor: 2000n, taxMinor: 240n, totalMinor: 2240n })
    expect(tax([before], { buyer: { country: null } })).toMatchObject({ lines: [before], taxMinor: 0n })
  })

  test('a one-time item has the rate of the day on which it was agreed, where its customer is', () => {
    const buyer = { country: 'FI', zone: 'Europe/Helsinki' }
    const agreed = (agreedAtMs: number) => line(1n, { period: { startMs: SEPTEMBER, endMs: OCTOBER }, agreedAtMs })
    const midnight = SEPTEMBER - 3 * 3_600_000
    expect(rates(tax([agreed(midnight - 1), agreed(midnight)], { buyer }))).toEqual(['24', '25.5'])
  })

  test('for watching, what only lacks its tax counts without it', () => {
    const draft = draftOf([line(1429n)])
    expect(taxWhereKnown(draft, contextOf({ buyer: { country: null } }), OCTOBER, 'EUR')).toBe(draft)
    expect(taxWhereKnown(draft, contextOf(), OCTOBER, 'EUR')).toMatchObject({ totalMinor: 1772n })
  })

  test('credits among the lines bear negative tax', () => {
    expect(totals(tax([line(-483n), line(1933n)]))).toEqual([1450n, 348n, 1798n, 1798n])
  })

  test('where tax is switched off nothing is taxed, and the seller’s numbers count still', () => {
    const draft = draftOf([line(1429n)])
    expect(tax([line(1429n)], { tax: { enabled: false }, buyer: { country: null } })).toEqual({
      ...draft,
      legalEntityId: 'seller',
    })
  })

  test('what cannot be stored is no invoice', () => {
    expect(() => tax([line(2n ** 63n - 1n)])).toThrow('too large to be stored')
  })
})
