import type { Address, Exemption, TaxId } from './billing-details.ts'

/** Who is billed, in one currency and one time zone, for the usage of some subjects. */
export type Customer = BillingDetails &
  PlaceAmongCustomers & {
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

/**
 * Under whom it stands, by external key, and whether that one pays for it: then its invoices are issued to whoever pays in
 * the end. `consolidate`: what a run issues to it becomes one invoice. It may change, and invoices after that follow.
 */
export type PlaceAmongCustomers = { parent: string | null; pays: 'self' | 'parent'; consolidate: boolean }

/** What its invoices say of it beyond that; it may change, and invoices after that follow. */
export type BillingDetails = {
  kind: 'business' | 'consumer'
  billingAddress: Address | null
  taxIds: TaxId[]
  taxExemption: Exemption | null
  /** The key of who issues its invoices; null: the tenant's default one, if there is one. */
  legalEntity: string | null
}
