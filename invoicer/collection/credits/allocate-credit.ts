import type { InvoiceToPay } from '../../billing/run/issue-chunk.ts'
import type { CreditDraw, OpenCredit } from './credit.ts'
import { payLines } from './pay-lines.ts'

/**
 * What of each invoice the customers' credit pays: invoices in their order, each from the first grant that has something
 * left. A grant pays in its own currency and for the lines of its scope only, and never more than it has, nor than an
 * invoice owes.
 */
export function allocateCredit(invoices: readonly InvoiceToPay[], open: readonly OpenCredit[]): CreditDraw[] {
  if (open.length === 0) return []
  const creditOf = new Map<string, OpenCredit[]>()
  for (const credit of open) {
    const ofCustomer = creditOf.get(credit.customerId)
    if (ofCustomer) ofCustomer.push({ ...credit })
    else creditOf.set(credit.customerId, [{ ...credit }])
  }
  return invoices.flatMap(({ id, customerId, currency, totalMinor, lines }) => {
    const credits = (creditOf.get(customerId) ?? []).filter((credit) => credit.currency === currency)
    const paidMinor = credits.some(({ scope }) => scope !== null)
      ? payLines(totalMinor, lines, credits)
      : payTotal(totalMinor, credits)
    return credits.flatMap((credit, place): CreditDraw[] => {
      const amountMinor = paidMinor[place] ?? 0n
      if (amountMinor <= 0n) return []
      credit.remainingMinor -= amountMinor
      return [{ grantId: credit.grantId, invoiceId: id, amountMinor }]
    })
  })
}

/** Where all may pay anything, each pays as far as it reaches. */
function payTotal(totalMinor: bigint, credits: readonly OpenCredit[]): bigint[] {
  let owedMinor = totalMinor > 0n ? totalMinor : 0n
  return credits.map(({ remainingMinor }) => {
    const amountMinor = remainingMinor < owedMinor ? remainingMinor : owedMinor
    owedMinor -= amountMinor
    return amountMinor
  })
}
