import type { TenantId } from '../../../schemas/http/door.ts'
import { formatMoney } from '../../../schemas/money.ts'
import type { Announce } from '../../outbox/announce.ts'
import { insertBillingEvents, type NewBillingEvent } from '../../outbox/history.postgres.ts'
import type { Means, Transact } from '../../transaction.ts'
import {
  lockUnpaid,
  markPaid,
  type SettledAttempt,
  settleAttempts,
  type UnpaidInvoice,
  withDue,
} from './payments.postgres.ts'

export type SettleDeps = Means & { transact: Transact; announce: Announce; gateway: { name: string } }

type Settled = { invoice: UnpaidInvoice; attempt: SettledAttempt }

/**
 * Writes the gateway's answers and what follows from them in one transaction; announces them after the commit. An
 * invoice of nothing counts as paid. Whoever comes second finds the invoices paid, and writes nothing.
 */
export async function settle(
  deps: SettleDeps,
  tenantId: TenantId,
  runId: string | null,
  invoices: readonly UnpaidInvoice[],
  attempts: readonly SettledAttempt[],
): Promise<void> {
  const news = await deps.transact(tenantId, async (tx) => {
    const atMs = deps.now()
    const locked = await lockUnpaid(
      tx,
      invoices.map((invoice) => invoice.id),
    )
    const fresh = await settleAttempts(tx, attempts, atMs)
    const attemptOf = new Map(attempts.filter(({ id }) => fresh.has(id)).map((item) => [item.invoiceId, item]))
    const open = withDue(invoices, locked)
    const settled = open.flatMap((invoice): Settled[] => {
      const attempt = attemptOf.get(invoice.id)
      return attempt === undefined ? [] : [{ invoice, attempt }]
    })
    const paid = open.filter(
      (invoice) => invoice.amountDueMinor === 0n || attemptOf.get(invoice.id)?.result.outcome === 'succeeded',
    )
    await markPaid(
      tx,
      paid.map((invoice) => invoice.id),
      atMs,
    )
    const events = [
      ...settled.map((item) => paymentEvent(deps, runId, item)),
      ...paid.map((invoice) => paidEvent(deps, runId, invoice)),
    ]
    await insertBillingEvents(tx, events, atMs)
    return settled
  })
  for (const item of news) announcePayment(deps, item)
}

function paymentEvent(deps: SettleDeps, runId: string | null, { invoice, attempt }: Settled): NewBillingEvent {
  const { result } = attempt
  const data = {
    payment_id: attempt.id,
    gateway: deps.gateway.name,
    amount: formatMoney(attempt.amountMinor, attempt.currency),
    currency: attempt.currency,
    ...(result.outcome === 'succeeded' ? { reference: result.reference } : { reason: result.reason }),
  }
  return { id: deps.newId(), event: `payment.${result.outcome}`, billingRunId: runId, ...subjectsOf(invoice), data }
}

function paidEvent(deps: SettleDeps, runId: string | null, invoice: UnpaidInvoice): NewBillingEvent {
  const { totalMinor, creditMinor, amountDueMinor, currency } = invoice
  const money = (minor: bigint) => formatMoney(minor, currency)
  const data = { total: money(totalMinor), credit: money(creditMinor), amount_paid: money(amountDueMinor), currency }
  return { id: deps.newId(), event: 'invoice.paid', billingRunId: runId, ...subjectsOf(invoice), data }
}

function subjectsOf(invoice: UnpaidInvoice) {
  return { customerId: invoice.customerId, subscriptionId: invoice.subscriptionId, invoiceId: invoice.id }
}

function announcePayment(deps: SettleDeps, { invoice, attempt }: Settled): void {
  deps.announce({
    event: `payment_${attempt.result.outcome}`,
    userId: invoice.customerKey,
    usageType: deps.gateway.name,
    amount: formatMoney(attempt.amountMinor, attempt.currency),
    currency: attempt.currency,
    invoiceId: invoice.id,
  })
}
