import type { LeastDue } from '../../agreements/invoice-settings/settings.ts'
import type { Applied } from '../../billing/invoices/rated-invoice.ts'

/** What an invoice owes behind prepaid credit, to a legal entity or, null, to the tenant itself; below 0 it gives. */
export type Owing = {
  id: string
  customerId: string
  legalEntityId: string | null
  currency: string
  owedMinor: bigint
}
/** What an earlier invoice carried forward, and no other one has yet. */
export type Carried = {
  fromInvoiceId: string
  customerId: string
  legalEntityId: string | null
  currency: string
  amountMinor: bigint
}
export type Standing = {
  /** By customer and currency. */
  balances: ReadonlyMap<string, bigint>
  carried: readonly Carried[]
  leastDue: LeastDue
}
/** Which invoice has what was carried forward from which. */
export type Taken = { fromInvoiceId: string; toInvoiceId: string }

export function placeOf({ customerId, currency }: { customerId: string; currency: string }): string {
  return `${customerId} ${currency}`
}

/** What is owed to one legal entity is no amount of another one's invoice. */
function creditorOf(one: Pick<Carried, 'customerId' | 'legalEntityId' | 'currency'>): string {
  return `${placeOf(one)} ${one.legalEntityId ?? ''}`
}

/**
 * What is done about the amounts of invoices, in their order. Each has all that was carried forward to its customer until
 * then by invoices of its legal entity; its own amount and that are paid from the balance as far as it reaches, and what is
 * left of it waits for the next invoice where it is below the least amount. What one gives or carries forward, the next one
 * of the same customer has.
 */
export function settleDue(
  invoices: readonly Owing[],
  { balances, carried, leastDue }: Standing,
): { applied: Map<string, Applied>; taken: Taken[] } {
  const left = new Map(balances)
  const waiting = new Map<string, Carried[]>()
  for (const one of carried) waiting.set(creditorOf(one), [...(waiting.get(creditorOf(one)) ?? []), one])
  const applied = new Map<string, Applied>()
  const taken: Taken[] = []
  for (const { id, customerId, legalEntityId, currency, owedMinor } of invoices) {
    const place = placeOf({ customerId, currency })
    const creditor = creditorOf({ customerId, legalEntityId, currency })
    const earlier = waiting.get(creditor) ?? []
    waiting.delete(creditor)
    taken.push(...earlier.map(({ fromInvoiceId }) => ({ fromInvoiceId, toInvoiceId: id })))
    const carriedInMinor = earlier.reduce((sum, { amountMinor }) => sum + amountMinor, 0n)
    const wholeMinor = owedMinor + carriedInMinor
    const balanceBeforeMinor = left.get(place) ?? 0n
    const balanceMinor = wholeMinor < balanceBeforeMinor ? wholeMinor : balanceBeforeMinor
    left.set(place, balanceBeforeMinor - balanceMinor)
    const dueMinor = wholeMinor - balanceMinor
    const carriedOutMinor = dueMinor < (leastDue.get(currency) ?? 0n) ? dueMinor : 0n
    if (carriedOutMinor > 0n) {
      const one = { fromInvoiceId: id, customerId, legalEntityId, currency, amountMinor: carriedOutMinor }
      waiting.set(creditor, [one])
    }
    applied.set(id, { balanceMinor, carriedInMinor, carriedOutMinor })
  }
  return { applied, taken }
}
