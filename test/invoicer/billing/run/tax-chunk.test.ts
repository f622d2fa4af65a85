import { expect, test } from 'vitest'
import type { RatedInvoice } from '../../../../invoicer/billing/invoices/rated-invoice.ts'
import type { Line } from '../../../../invoicer/billing/lines.ts'
import type { RatedChunk } from '../../../../invoicer/billing/run/rate-chunk.ts'
import { taxChunk } from '../../../../invoicer/billing/run/tax-chunk.ts'
import { embeddedTax, noTax, type TaxEngine, type TaxOf } from '../../../../invoicer/billing/tax/tax-port.ts'
import { contextOf } from '../tax/contexts.ts'

/** As much of an invoice as taxing looks at. */
const invoice = (id: string, month: number): RatedInvoice => {
  const totals = { subtotalMinor: 100n, taxMinor: 0n, totalMinor: 100n, amountDueMinor: 100n }
  const period = { startMs: Date.UTC(2023, month), endMs: Date.UTC(2023, month + 1) }
  const line = { planId: 'p', period, chargeKey: 'c', description: 'C', meter: null, amountMinor: 100n }
  const lines = [{ ...line, breakdown: [], usage: null }]
  return {
    subscription: { id, customerId: `of-${id}` },
    plan: { currency: 'EUR' },
    period,
    draft: { ...totals, lines },
  } as unknown as RatedInvoice
}
const chunk = (invoices: RatedInvoice[], parked: RatedChunk['parked'] = []): RatedChunk => ({
  invoices,
  parked,
  more: false,
})
const shown = ({ invoices, parked }: RatedChunk) => ({
  issued: invoices.map(({ subscription, draft }) => `${subscription.id} ${draft.totalMinor}`),
  parked: parked.map(({ subscription, reason }) => `${subscription.id}: ${reason}`),
})
const AT_MS = Date.UTC(2024, 0, 1)
const all = () => contextOf()

test('a chunk is taxed in its order, by an engine of the house or one that takes its time', async () => {
  const rated = chunk([invoice('a', 9), invoice('a', 10), invoice('b', 9)])
  const expected = { issued: ['a 124', 'a 124', 'b 124'], parked: [] }
  expect(shown(await taxChunk(embeddedTax, all, rated, AT_MS))).toEqual(expected)
  const slow: TaxEngine = async (...given) => embeddedTax(...given)
  expect(shown(await taxChunk(slow, all, rated, AT_MS))).toEqual(expected)
  expect(await taxChunk(embeddedTax, noTax, rated, AT_MS)).toEqual(rated)
})

test('an engine that fails parks that subscription from there on, once and with the reason, and nobody else', async () => {
  const later = invoice('a', 11)
  const parked = [{ subscription: later.subscription, periodStartMs: later.period.startMs, reason: 'the clocks' }]
  const rated = chunk([invoice('a', 8), invoice('a', 9), invoice('a', 10), invoice('b', 9)], parked)
  let asked = 0
  const failing: TaxEngine = (...given) => {
    asked += 1
    if (asked === 2) throw new Error('The tax service is away.')
    return embeddedTax(...given)
  }
  const taxed = await taxChunk(failing, all, rated, AT_MS)
  expect(shown(taxed)).toEqual({ issued: ['a 124', 'b 124'], parked: ['a: The tax service is away.'] })
  expect(taxed.parked[0]?.periodStartMs).toBe(Date.UTC(2023, 9))
  const rejecting: TaxEngine = () => Promise.reject(new Error('It answered 503.'))
  expect(shown(await taxChunk(rejecting, all, rated, AT_MS))).toEqual({
    issued: [],
    parked: ['a: It answered 503.', 'b: It answered 503.'],
  })
})

/** Decision 0039: what of a discount lowers a fee that another legal entity billed goes there, with its line. */
test('what discounts are said to have taken off an invoice is what its own discount lines come to', async () => {
  const rated = invoice('a', 9)
  const [line] = rated.draft.lines
  const north = { ...line!, correctsOf: 'north', tax: null }
  const off = (amountMinor: bigint, lowers: number) => ({ amountMinor, discount: { id: 'd', lowers } })
  const lines: Line[] = [north, line!, { ...north, ...off(-5n, 0) }, { ...line!, ...off(-10n, 1) }]
  const totals = { subtotalMinor: 185n, totalMinor: 185n, amountDueMinor: 185n }
  const discounts = [{ discountId: 'd', cycle: 1, amountMinor: 15n, atMs: AT_MS }]
  const sellers: TaxOf = (_, sellerId) => contextOf(sellerId === undefined ? {} : { seller: { id: sellerId } })
  const mixed = { ...rated, draft: { ...rated.draft, ...totals, lines }, discounts }
  const { invoices } = await taxChunk(embeddedTax, sellers, chunk([mixed]), AT_MS)
  expect(invoices.map((one) => one.discounts?.map(({ amountMinor }) => amountMinor))).toEqual([[10n], undefined])
  expect(invoices.map(({ draft }) => draft.lines.map(({ discount }) => discount?.lowers))).toEqual([
    [undefined, 0],
    [undefined, 0],
  ])
})

test('what corrects the invoices of another legal entity is invoiced by that one, beside the period', async () => {
  const rated = invoice('a', 9)
  const [line] = rated.draft.lines
  const correction = { ...line!, amountMinor: 50n, correctsOf: 'north', tax: null }
  const of = (lines: Line[], offCycle?: true) => {
    const totalMinor = lines.reduce((sum, one) => sum + one.amountMinor, 0n)
    const draft = { ...rated.draft, lines, subtotalMinor: totalMinor, totalMinor, amountDueMinor: totalMinor }
    return offCycle ? { ...rated, draft, offCycle } : { ...rated, draft }
  }
  const august = { startMs: Date.UTC(2023, 7), endMs: Date.UTC(2023, 8) }
  const mixed = [line!, correction, { ...correction, correctsOf: 'seller' }, { ...correction, period: august }]
  const sellers: TaxOf = (_, sellerId) => contextOf(sellerId === undefined ? {} : { seller: { id: sellerId } })
  const seen = async (one: RatedInvoice) => {
    const { invoices } = await taxChunk(embeddedTax, sellers, chunk([one]), AT_MS)
    return invoices.map(({ draft, offCycle, period, next }) => [
      draft.legalEntityId,
      offCycle ?? false,
      draft.totalMinor,
      draft.lines.length,
      new Date(period.startMs).toISOString().slice(0, 7),
      next,
    ])
  }
  expect(await seen(of(mixed))).toEqual([
    ['seller', false, 174n, 2, '2023-10', undefined],
    ['north', true, 100n, 2, '2023-08', null],
  ])
  expect(await seen(of([correction], true))).toEqual([['north', true, 50n, 1, '2023-10', null]])
  // The period is billed even where nothing else is on its invoice: the subscription moves on.
  expect(await seen(of([correction]))).toEqual([
    ['seller', false, 0n, 0, '2023-10', undefined],
    ['north', true, 50n, 1, '2023-10', null],
  ])
})
