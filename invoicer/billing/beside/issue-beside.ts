import { formatMoney } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { findInvoiceSettings } from '../../agreements/invoice-settings/invoice-settings.postgres.ts'
import { insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { keepTextsOf } from '../invoices/issued-texts.postgres.ts'
import { ensureInvoiceNumbers } from '../invoices/numbers.postgres.ts'
import { insertBesideLines, insertBesideNumbered } from './beside.postgres.ts'
import type { BesideInvoice } from './beside-invoice.ts'

/**
 * Issues invoices that belong to no subscription, in the caller's transaction, as its last effect. Order of effects:
 *   lines → texts → history, outbox → payments, and invoices with numbers, last
 * A crash before the commit leaves nothing, numbers included. Series of numbers are drawn from in one order, the tenant's
 * own before those of legal entities by id, so that nobody waits in a circle.
 */
export async function issueBeside(
  tx: TenantTransaction,
  means: Means,
  invoices: readonly BesideInvoice[],
  atMs: number,
): Promise<void> {
  if (invoices.length === 0) return
  const inOrder = invoices.toSorted((a, b) => (seriesOf(a) < seriesOf(b) ? -1 : 1))
  await ensureInvoiceNumbers(tx)
  for (const invoice of inOrder) await insertBesideLines(tx, invoice)
  const { hasTexts } = await findInvoiceSettings(tx)
  if (hasTexts) {
    const owners = inOrder.map(({ id, customerId, draft }) => {
      return { id, owners: [null, ...(draft.legalEntityId === undefined ? [] : [draft.legalEntityId]), customerId] }
    })
    await keepTextsOf(tx, owners)
  }
  await insertBillingEvents(
    tx,
    inOrder.flatMap((invoice) => eventsOf(means, invoice)),
    atMs,
  )
  for (const invoice of inOrder) await insertBesideNumbered(tx, invoice, atMs)
}

function seriesOf({ draft }: BesideInvoice): string {
  return draft.legalEntityId ?? ''
}

function eventsOf(means: Means, invoice: BesideInvoice): NewBillingEvent[] {
  const { id: invoiceId, customerId, currency, period, draft, creditMinor, applied, paidBy } = invoice
  const { balanceMinor, carriedInMinor, carriedOutMinor } = applied
  const dueMinor = draft.totalMinor - creditMinor - balanceMinor + carriedInMinor - carriedOutMinor
  const money = (minor: bigint) => formatMoney(minor, currency)
  const of = { customerId, invoiceId }
  const data = {
    total: money(draft.totalMinor),
    credit: money(creditMinor),
    balance: money(balanceMinor),
    ...(carriedInMinor > 0n ? { carried_in: money(carriedInMinor) } : {}),
    ...(carriedOutMinor > 0n ? { carried_out: money(carriedOutMinor) } : {}),
    amount_due: money(dueMinor),
    currency,
    period_start: new Date(period.startMs).toISOString(),
    period_end: new Date(period.endMs).toISOString(),
  }
  const events: NewBillingEvent[] = [{ id: means.newId(), event: 'invoice.finalised', ...of, data }]
  if (paidBy !== null) {
    const { paymentId, gateway, reference } = paidBy
    const paid = { payment_id: paymentId, gateway, amount: money(dueMinor), currency, reference }
    events.push({ id: means.newId(), event: 'payment.succeeded', ...of, data: paid })
  }
  if (paidBy !== null || dueMinor <= 0n) {
    const paid = { total: data.total, credit: data.credit, amount_paid: data.amount_due, currency }
    events.push({ id: means.newId(), event: 'invoice.paid', ...of, data: paid })
  }
  return events
}
