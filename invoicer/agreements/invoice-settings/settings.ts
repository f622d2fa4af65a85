import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { isCurrency, parseMoney } from '../../../schemas/money.ts'

/** How a tenant's invoices are made. */
export type InvoiceSettings = {
  /** Whether an invoice that bills nothing is issued, with a number, or nobody is shown it. */
  zeroInvoices: 'issue' | 'suppress'
  /** By currency, in major units: an amount due below it is carried forward to the customer's next invoice. */
  leastDue: Readonly<Record<string, string>>
}
/** The same amounts by currency, in minor units. */
export type LeastDue = ReadonlyMap<string, bigint>

export const DEFAULT_SETTINGS: InvoiceSettings = { zeroInvoices: 'issue', leastDue: {} }

/** @throws Problem invalid_request for what is no currency, and for an amount that is none in it or not above 0. */
export function leastDueMinor({ leastDue }: InvoiceSettings): LeastDue {
  const amounts = Object.entries(leastDue)
  const errors = amounts.flatMap(([currency, text]): ProblemError[] => {
    const path = `least_due.${currency}`
    if (!isCurrency(currency)) return [{ path, message: 'This is not an active ISO 4217 currency.' }]
    return parseMoney(text, currency) > 0n ? [] : [{ path, message: 'This must be above 0: leave it out for none.' }]
  })
  if (errors.length > 0) throw new Problem('invalid_request', 'The settings are not valid.', { errors })
  return new Map(amounts.map(([currency, text]) => [currency, parseMoney(text, currency)]))
}
