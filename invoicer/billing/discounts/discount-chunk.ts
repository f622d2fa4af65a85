import type { RatedInvoice } from '../invoices/rated-invoice.ts'
import type { RatedChunk } from '../run/rate-chunk.ts'
import { discounted } from './discounted.ts'
import { type DiscountsOf, dueAtMs, inForce } from './in-force.ts'

/**
 * A rated chunk with the discounts of its invoices, before tax. Invoices of a subscription stand in their order, so that
 * each counts those before it. A subscription whose discounts cannot be worked out is parked from that period on.
 */
export function discountChunk(rated: RatedChunk, discountsOf: DiscountsOf): RatedChunk {
  const earlier = new Map<string, number[]>()
  const invoices: RatedInvoice[] = []
  const refused = new Map<string, RatedChunk['parked'][number]>()
  for (const invoice of rated.invoices) {
    const { subscription, period } = invoice
    if (refused.has(subscription.id)) continue
    try {
      invoices.push(withDiscounts(invoice, discountsOf, earlier))
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      refused.set(subscription.id, { subscription, periodStartMs: period.startMs, reason })
    }
  }
  if (refused.size === 0) return { ...rated, invoices }
  const parked = [...rated.parked.filter(({ subscription }) => !refused.has(subscription.id)), ...refused.values()]
  return { ...rated, invoices, parked }
}

/** `earlier`: when invoices fell due, by subscription; this one is added. */
function withDiscounts(invoice: RatedInvoice, discountsOf: DiscountsOf, earlier: Map<string, number[]>): RatedInvoice {
  const { subscription, plan, draft } = invoice
  const atMs = dueAtMs(invoice)
  const given = atMs === null ? [] : discountsOf(subscription)
  if (given.length === 0 || atMs === null) return invoice
  const before = earlier.get(subscription.id) ?? []
  earlier.set(subscription.id, [...before, atMs])
  const { draft: lowered, applied } = discounted(draft, inForce(given, atMs, before), plan.currency)
  return { discounts: applied.map((one) => ({ atMs, ...one })), ...invoice, draft: lowered }
}
