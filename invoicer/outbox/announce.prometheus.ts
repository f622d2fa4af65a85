import { Counter, type Registry } from 'prom-client'
import type { Announce, FinancialEvent } from './announce.ts'

/** The part of a pino logger that is needed here. */
export type EventLogger = { info: (members: Record<string, unknown>, message: string) => void }

/** One structured line per financial event, and the revenue counter. */
export function announceTo(logger: EventLogger, registry: Registry): Announce {
  const revenue = new Counter({
    name: 'billing_revenue_total',
    help: 'Amounts of issued invoices in major units, since the start of the process.',
    labelNames: ['currency'],
    registers: [registry],
  })
  return (event) => {
    if (event.event === 'invoice_finalised') revenue.inc({ currency: event.currency }, Number(event.amount))
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
