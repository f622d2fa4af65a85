import type { Address, Exemption, TaxId } from './billing-details.ts'

/** Who is billed, in one currency and one time zone, for the usage of some subjects. */
export type Customer = BillingDetails & {
  id: string
  externalKey: string
  name: string | null
  email: string | null
  stripeCustomerId: string | null
  currency: string
  timezone: string
  /** Sorted. */
  subjects: string[]
  createdAtMs: number
}

/** What its invoices say of it beyond that; it may change, and invoices after that follow. */
export type BillingDetails = {
  kind: 'business' | 'consumer'
  billingAddress: Address | null
  taxIds: TaxId[]
  taxExemption: Exemption | null
  /** The key of who issues its invoices; null: the tenant's default one, if there is one. */
  legalEntity: string | null
}
