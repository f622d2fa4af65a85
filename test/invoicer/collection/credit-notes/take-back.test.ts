import { describe, expect, test } from 'vitest'
import type { CreditableInvoice } from '../../../../invoicer/collection/credit-notes/credit-note.ts'
import { takeBack } from '../../../../invoicer/collection/credit-notes/take-back.ts'

/** Lines by their net and their tax on top. */
function invoice(id: string, lines: readonly (readonly [net: bigint, tax: bigint])[]): CreditableInvoice {
  const totalMinor = lines.reduce((sum, [net, tax]) => sum + net + tax, 0n)
  return {
    ...{ id, customerId: 'c', customerKey: 'c', subscriptionId: 's', legalEntityId: null, numberPrefix: null },
    ...{ currency: 'USD', state: 'paid', isBeingPaid: false, amountDueMinor: totalMinor, settledMinor: 0n },
    ...{ totalMinor, creditedMinor: 0n },
    lines: lines.map(([netMinor, taxMinor], lineIndex) => ({
      ...{
        lineIndex,
        netMinor,
        taxMinor,
        taxInside: false,
        lowersLine: null,
        creditedNetMinor: 0n,
        creditedTaxMinor: 0n,
      },
    })),
  }
}
const take = (amountMinor: bigint, invoices: CreditableInvoice[], places: readonly (readonly [string, number])[]) => {
  const lines = places.map(([invoiceId, lineIndex]) => ({ invoiceId, lineIndex }))
  const { taken, balanceMinor } = takeBack({ amountMinor, lines }, new Map(invoices.map((one) => [one.id, one])))
  const notes = [...taken].map(([id, of]) => [id, ...of.map((one) => [one.lineIndex, one.netMinor, one.taxMinor])])
  return { notes, balanceMinor }
}

/** billing-rules "Usage that comes late": credit notes on the original, with their tax. */
describe('what is taken back', () => {
  test('is at most what the lines of the charge on an invoice come to together', () => {
    const corrected = invoice('new', [
      [750n, 0n],
      [-250n, 0n],
      [750n, 0n],
    ])
    const places = [0, 1, 2].map((index) => ['new', index] as const)
    expect(take(10_000n, [corrected, invoice('old', [[9_000n, 0n]])], [...places, ['old', 0]])).toEqual({
      notes: [
        ['new', [0, 750n, 0n], [2, 500n, 0n]],
        ['old', [0, 8_750n, 0n]],
      ],
      balanceMinor: 0n,
    })
  })

  test('goes to the balance with its tax where lines of others lowered the invoice, in one step or in two', () => {
    const lowered = invoice('i', [
      [10_000n, 2_400n],
      [-5_000n, -1_200n],
    ])
    expect(take(10_000n, [lowered], [['i', 0]])).toEqual({ notes: [['i', [0, 5_000n, 1_200n]]], balanceMinor: 6_200n })
    const [line, other] = lowered.lines
    const half = { ...line!, creditedNetMinor: 5_000n, creditedTaxMinor: 1_200n }
    const credited = { ...lowered, creditedMinor: 6_200n, lines: [half, other!] }
    expect(take(5_000n, [credited], [['i', 0]])).toEqual({ notes: [], balanceMinor: 6_200n })
  })

  test('goes to the balance as it is where no line has it', () => {
    expect(take(300n, [invoice('i', [[100n, 24n]])], [['i', 0]])).toEqual({
      notes: [['i', [0, 100n, 24n]]],
      balanceMinor: 200n,
    })
  })
})
