import { renumbered } from '../discounts/discounted.ts'
import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import { type Line, untaxedDraft } from '../lines.ts'

/** An invoice before tax, and which legal entity issues it. */
export type OfSeller = { invoice: RatedInvoice; sellerId: string }

/**
 * An invoice of the customer's seller, without the corrections of what other legal entities billed: each of those gets an
 * invoice of its own from whoever billed it. A rated invoice that has nothing else is left out.
 */
export function bySeller(invoice: RatedInvoice, sellerId: string): OfSeller[] {
  if (invoice.draft.lines.every(({ correctsOf = sellerId }) => correctsOf === sellerId)) return [{ invoice, sellerId }]
  const linesOf = new Map<string, Line[]>()
  for (const line of invoice.draft.lines) {
    const of = line.correctsOf ?? sellerId
    const own = linesOf.get(of)
    if (own) own.push(line)
    else linesOf.set(of, [line])
  }
  const others = [...linesOf].filter(([id]) => id !== sellerId)
  const own = renumbered(invoice.draft.lines, linesOf.get(sellerId) ?? [])
  const rest =
    own.length === 0 && invoice.offCycle
      ? []
      : [{ invoice: { ...withOwnSums(invoice, own), draft: untaxedDraft(own) }, sellerId }]
  return [...rest, ...others.map(([id, lines]) => ({ invoice: offCycle(invoice, lines), sellerId: id }))]
}

/** What discounts took off lines that go to another entity is no part of what they took off its own. */
function withOwnSums(invoice: RatedInvoice, own: readonly Line[]): RatedInvoice {
  if (invoice.discounts === undefined) return invoice
  const discounts = invoice.discounts.map((one) => ({
    ...one,
    amountMinor: own.reduce((sum, line) => (line.discount?.id === one.discountId ? sum - line.amountMinor : sum), 0n),
  }))
  return { ...invoice, discounts }
}

/** Of the periods that are corrected. */
function offCycle(invoice: RatedInvoice, lines: Line[]): RatedInvoice {
  const startMs = Math.min(...lines.map(({ period }) => period.startMs))
  const endMs = Math.max(...lines.map(({ period }) => period.endMs))
  const period = { index: 0, startMs, endMs, wholeStartMs: startMs, wholeEndMs: endMs }
  const { claimsFees: _f, discounts: _d, progressive: _p, ...rest } = invoice
  const draft = untaxedDraft(renumbered(invoice.draft.lines, lines))
  return { ...rest, period, next: null, draft, offCycle: true }
}
