import { Counter, type Registry } from 'prom-client'
import type { Announce, FinancialEvent } from './announce.ts'

/** The part of a pino logger that is needed here. */
export type EventLogger = { info: (members: Record<string, unknown>, message: string) => void }

/**
 * One structured line per financial event, and the counters of revenue. Counters only rise: an invoice that gives back more
 * than it bills (a cancellation with credit) counts in one of its own, and revenue is the difference of both.
 */
export function announceTo(logger: EventLogger, registry: Registry): Announce {
  const revenue = new Counter({
    name: 'billing_revenue_total',
    help: 'Amounts of issued invoices in major units, since the start of the process; those below 0 left out.',
    labelNames: ['currency'],
    registers: [registry],
  })
  const givenBack = new Counter({
    name: 'billing_revenue_given_back_total',
    help: 'By how much issued invoices were below 0, in major units, since the start of the process.',
    labelNames: ['currency'],
    registers: [registry],
  })
  return (event) => {
    if (event.event === 'invoice_finalised') {
      const amount = Number(event.amount)
      const counter = amount < 0 ? givenBack : revenue
      counter.inc({ currency: event.currency }, Math.abs(amount))
    }
    logger.info(logLine(event), event.event)
  }
}

function logLine(event: FinancialEvent): Record<string, unknown> {
  return {
    service: 'invoicer',
    event: event.event,
    user_id: event.userId,
    usage_type: event.usageType,
    amount: event.amount,
    currency: event.currency,
    invoice_id: event.invoiceId,
  }
}
