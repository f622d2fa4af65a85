import { formatMoney } from '../../../schemas/money.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import type { BesideInvoice } from '../../billing/beside/beside-invoice.ts'
import { NOTHING_APPLIED } from '../../billing/invoices/rated-invoice.ts'
import type { PrepaidCreditEntry } from '../../billing/items/invoice-item.ts'
import { untaxedDraft } from '../../billing/lines.ts'
import type { Means } from '../../transaction.ts'
import type { Purchase } from './top-up.ts'

const MINUTE_MS = 60_000
/** Of its only line. */
export const PREPAID_CREDIT = 'prepaid_credit'

/**
 * The invoice of a purchase that is paid: of the minute in which it was, by the customer's legal entity, if there is one.
 * The sale of credit is a liability, neither taxed nor revenue: what is bought with the credit is. So neither credit nor
 * balance pays it, and nothing is carried forward to it.
 */
export function purchaseInvoice(
  means: Means,
  purchase: Purchase & { reference: string },
  legalEntityId: string | undefined,
  atMs: number,
): BesideInvoice {
  const { id: purchaseId, customerId, currency, amountMinor, gateway, reference, createdAtMs } = purchase
  const startMs = floorToMinute(atMs)
  const period = { startMs, endMs: startMs + MINUTE_MS }
  const entry: PrepaidCreditEntry = {
    type: 'prepaid_credit',
    purchase_id: purchaseId,
    amount: formatMoney(amountMinor, currency),
  }
  const line = {
    // No plan makes it, and nothing counts it.
    ...{ planId: '', meter: null, usage: null, chargeKey: PREPAID_CREDIT, description: 'Prepaid credit' },
    ...{ period, amountMinor, breakdown: [entry] },
  }
  const draft = untaxedDraft([line])
  return {
    ...{ id: means.newId(), customerId, currency, period, creditMinor: 0n, applied: NOTHING_APPLIED },
    draft: legalEntityId === undefined ? draft : { ...draft, legalEntityId },
    paidBy: { paymentId: means.newId(), gateway, idempotencyKey: purchaseId, reference, createdAtMs },
  }
}
