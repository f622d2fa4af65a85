/** A financial event for logs and metrics (HC-9, HC-10). `amount` is text in major units. */
export type FinancialEvent = {
  event: 'invoice_finalised' | 'payment_succeeded' | 'payment_declined' | 'payment_unknown'
  /** The customer's external key. */
  userId: string
  /** What was used, or what was paid: the meters of an invoice, the gateway of a payment. */
  usageType: string
  amount: string
  currency: string
  invoiceId: string
}

/** Told after the commit, so a line never tells of what did not happen; a crash in between loses the line alone. */
export type Announce = (event: FinancialEvent) => void
