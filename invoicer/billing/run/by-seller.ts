import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import { type Line, untaxedDraft } from '../lines.ts'

/** An invoice before tax, and which legal entity issues it. */
export type OfSeller = { invoice: RatedInvoice; sellerId: string }

/**
 * An invoice of the customer's seller, without the corrections of what other legal entities billed: each of those gets an
 * invoice of its own from whoever billed it. A rated invoice that has nothing else is left out.
 */
export function bySeller(invoice: RatedInvoice, sellerId: string): OfSeller[] {
  const linesOf = new Map<string, Line[]>()
  for (const line of invoice.draft.lines) {
    const of = line.correctsOf ?? sellerId
    const own = linesOf.get(of)
    if (own) own.push(line)
    else linesOf.set(of, [line])
  }
  const others = [...linesOf].filter(([id]) => id !== sellerId)
  if (others.length === 0) return [{ invoice, sellerId }]
  const own = linesOf.get(sellerId) ?? []
  const rest =
    own.length === 0 && invoice.offCycle ? [] : [{ invoice: { ...invoice, draft: untaxedDraft(own) }, sellerId }]
  return [...rest, ...others.map(([id, lines]) => ({ invoice: offCycle(invoice, lines), sellerId: id }))]
}

/** Of the periods that are corrected. */
function offCycle(invoice: RatedInvoice, lines: Line[]): RatedInvoice {
  const startMs = Math.min(...lines.map(({ period }) => period.startMs))
  const endMs = Math.max(...lines.map(({ period }) => period.endMs))
  const period = { index: 0, startMs, endMs, wholeStartMs: startMs, wholeEndMs: endMs }
  return { ...invoice, period, next: null, draft: untaxedDraft(lines), offCycle: true }
}
