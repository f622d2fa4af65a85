import { payerIdOf } from '../due.ts'
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
  // All are asked for at once: a service that is far away is waited for together.
  const asked = rated.invoices.map((invoice) => ({ invoice, taxes: ask(engine, taxOf, invoice, atMs) }))
  for (const { invoice, taxes } of asked) {
    const { subscription, period } = invoice
    if (refused.has(subscription.id)) continue
    // The engine of the house answers at once, and a thousand waits for nothing are not free.
    const answer = taxes instanceof Promise ? await taxes : taxes
    if (answer instanceof Error) {
      refused.set(subscription.id, { subscription, periodStartMs: period.startMs, reason: answer.message })
    } else invoices.push(...answer)
  }
  const parked = [...rated.parked.filter(({ subscription }) => !refused.has(subscription.id)), ...refused.values()]
  return { ...rated, invoices, parked }
}

type Taxed = RatedInvoice[] | Error

function ask(engine: TaxEngine, taxOf: TaxOf, invoice: RatedInvoice, atMs: number): Taxed | Promise<Taxed> {
  try {
    const asked = parts(invoice, taxOf).map(({ part, context }) => ({
      part,
      draft: context === undefined ? part.draft : engine(part.draft, context, atMs, part.plan.currency),
    }))
    const now = asked.flatMap(({ part, draft }) => (draft instanceof Promise ? [] : [{ ...part, draft }]))
    if (now.length === asked.length) return now
    return Promise.all(asked.map(async ({ part, draft }) => ({ ...part, draft: await draft }))).catch(asError)
  } catch (error) {
    return asError(error)
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function parts(invoice: RatedInvoice, taxOf: TaxOf): { part: RatedInvoice; context: TaxContext | undefined }[] {
  const payerId = payerIdOf(invoice.subscription)
  const context = taxOf(payerId)
  if (context === undefined) return [{ part: invoice, context }]
  return bySeller(invoice, context.seller.id).map(({ invoice: part, sellerId }) => ({
    part,
    context: taxOf(payerId, sellerId),
  }))
}
