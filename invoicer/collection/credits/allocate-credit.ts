import type { InvoiceToPay } from '../../billing/run/issue-chunk.ts'
import type { CreditDraw, OpenCredit } from './credit.ts'

/**
 * What of each invoice the customers' credit pays: invoices in their order, each from the first grant that has something
 * left. A grant pays in its own currency only, and never more than it has, nor than an invoice owes.
 */
export function allocateCredit(invoices: readonly InvoiceToPay[], open: readonly OpenCredit[]): CreditDraw[] {
  const creditOf = new Map<string, OpenCredit[]>()
  for (const credit of open) {
    const ofCustomer = creditOf.get(credit.customerId)
    if (ofCustomer) ofCustomer.push({ ...credit })
    else creditOf.set(credit.customerId, [{ ...credit }])
  }
  return invoices.flatMap(({ id, customerId, currency, totalMinor }) => {
    let owedMinor = totalMinor
    const draws: CreditDraw[] = []
    for (const credit of creditOf.get(customerId) ?? []) {
      if (credit.currency !== currency) continue
      let amountMinor = owedMinor
      if (credit.remainingMinor < amountMinor) amountMinor = credit.remainingMinor
      if (amountMinor <= 0n) continue
      credit.remainingMinor -= amountMinor
      owedMinor -= amountMinor
      draws.push({ grantId: credit.grantId, invoiceId: id, amountMinor })
    }
    return draws
  })
}
