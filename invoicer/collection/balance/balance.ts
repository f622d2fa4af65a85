/** Where a change of a balance comes from. `applied` took off an invoice, the others gave; `void` what one took before. */
export type BalanceEntryKind = 'applied' | 'negative_invoice' | 'credit_note' | 'adjustment' | 'void'

/** What a balance is changed by: below 0 for `applied`. */
export type BalanceChange = {
  customerId: string
  currency: string
  kind: BalanceEntryKind
  amountMinor: bigint
  invoiceId?: string
  creditNoteId?: string
  adjustmentId?: string
}

/** A change as it was kept, with the balance right behind it. */
export type BalanceEntry = {
  id: string
  currency: string
  kind: BalanceEntryKind
  amountMinor: bigint
  balanceMinor: bigint
  invoiceId: string | null
  creditNoteId: string | null
  atMs: number
}
