import { checkDraft, type Draft, type Line, untaxedDraft } from '../lines.ts'
import type { Span } from '../unused.ts'
import type { PendingItem } from './invoice-item.ts'

/** Those of a chunk's pending items that one subscription's next invoice takes. */
export type ItemsOf = (subscription: { id: string; customerId: string }) => readonly PendingItem[]

/**
 * Gives each item to one subscription of the chunk: the one it names, or the first of its customer that asks. Who asks has
 * been rated: one that cannot be keeps nothing from the others.
 */
export function shareItems(items: readonly PendingItem[]): ItemsOf {
  const byCustomer = grouped(items, ({ customerId }) => customerId)
  const bySubscription = new Map(
    [...byCustomer].map(([id, own]) => [id, grouped(own, ({ subscriptionId }) => subscriptionId)]),
  )
  const firstOf = new Map<string, string>()
  return ({ id, customerId }) => {
    const own = byCustomer.get(customerId)
    if (own === undefined) return []
    const first = firstOf.get(customerId) ?? id
    firstOf.set(customerId, first)
    // The first one alone looks through all of its customer's, so that they stay in order.
    if (first === id) return own.filter(({ subscriptionId }) => (subscriptionId ?? id) === id)
    return bySubscription.get(customerId)?.get(id) ?? []
  }
}

function grouped<K>(items: readonly PendingItem[], keyOf: (item: PendingItem) => K): Map<K, PendingItem[]> {
  const groups = new Map<K, PendingItem[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group) group.push(item)
    else groups.set(keyOf(item), [item])
  }
  return groups
}

/**
 * A draft with the lines of pending items behind its own: corrections of earlier periods, then one-time items. Before
 * tax: that is added to the whole. What is in another currency waits.
 * @throws Problem as draftInvoice.
 */
export function withItems(
  draft: Draft,
  items: readonly PendingItem[],
  invoice: { planId: string; period: Span; currency: string },
): Draft {
  const own = items.filter(({ currency }) => currency === invoice.currency)
  if (own.length === 0) return draft
  const ordered = [
    ...own.filter(({ corrects }) => corrects !== null),
    ...own.filter(({ corrects }) => corrects === null),
  ]
  const answer = untaxedDraft([...draft.lines, ...ordered.map((item) => itemLine(item, invoice))])
  checkDraft(answer)
  return answer
}

/** A one-time item is of the invoice's period. A correction was made from usage, but its line is not that usage's line. */
function itemLine(item: PendingItem, { planId, period }: { planId: string; period: Span }): Line {
  const { id: itemId, chargeKey, description, amountMinor, breakdown, corrects, sellerId } = item
  const line = { itemId, chargeKey, description, amountMinor, breakdown, usage: null }
  if (corrects === null) {
    const own = { startMs: period.startMs, endMs: period.endMs }
    const sold = item.taxClass === undefined ? {} : { taxClass: item.taxClass }
    return { ...line, planId, meter: null, period: own, agreedAtMs: item.createdAtMs, ...sold }
  }
  // The terms are those of then; the amount of tax is worked out with them, for all lines alike.
  const tax = corrects.tax && { ...corrects.tax, amountMinor: 0n }
  return { ...line, ...corrects, tax, ...(sellerId === null ? {} : { correctsOf: sellerId }) }
}
