import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import type { TaxContext } from '../tax/tax.ts'
import type { TaxEngine, TaxOf } from '../tax/tax-port.ts'
import { bySeller } from './by-seller.ts'
import type { RatedChunk } from './rate-chunk.ts'

/**
 * A rated chunk with the tax of its invoices, as of an instant. A subscription whose tax cannot be known is parked from
 * that period on: it is never issued untaxed, and its later periods wait for that one. What corrects the invoices of
 * another legal entity becomes an invoice of that.
 */
export async function taxChunk(engine: TaxEngine, taxOf: TaxOf, rated: RatedChunk, atMs: number): Promise<RatedChunk> {
  const invoices: RatedInvoice[] = []
  const refused = new Map<string, RatedChunk['parked'][number]>()
  for (const invoice of rated.invoices) {
    const { subscription, period } = invoice
    if (refused.has(subscription.id)) continue
    const taxedParts: RatedInvoice[] = []
    try {
      for (const { part, context } of parts(invoice, taxOf)) {
        const draft = context === undefined ? part.draft : engine(part.draft, context, atMs)
        // The engine of the house answers at once, and a thousand waits for nothing are not free.
        taxedParts.push({ ...part, draft: draft instanceof Promise ? await draft : draft })
      }
      invoices.push(...taxedParts)
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      refused.set(subscription.id, { subscription, periodStartMs: period.startMs, reason })
    }
  }
  const parked = [...rated.parked.filter(({ subscription }) => !refused.has(subscription.id)), ...refused.values()]
  return { ...rated, invoices, parked }
}

function parts(invoice: RatedInvoice, taxOf: TaxOf): { part: RatedInvoice; context: TaxContext | undefined }[] {
  const { customerId } = invoice.subscription
  const context = taxOf(customerId)
  if (context === undefined) return [{ part: invoice, context }]
  return bySeller(invoice, context.seller.id).map(({ invoice: part, sellerId }) => ({
    part,
    context: taxOf(customerId, sellerId),
  }))
}
