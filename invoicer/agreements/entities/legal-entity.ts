import type { Address } from '../customers/billing-details.ts'

/** Where a legal entity is registered for tax. */
export type Registration = { country: string; number: string }

/** How a legal entity taxes what it sells. */
export type TaxSettings = {
  enabled: boolean
  /** Who knows the rates: the engine of the house, or Stripe Tax. */
  engine: 'embedded' | 'stripe'
  /** Whether the tax of each line is rounded, or that of the invoice. */
  rounding: 'per_line' | 'per_invoice'
  /** Prices hold their tax, or it comes on top. */
  inclusive: boolean
  /** Whose rate consumers in other member states of the Union pay: theirs (one stop shop), or the seller's. */
  euConsumers: 'destination' | 'origin'
  /** What Stripe calls classes of what is sold; left out: none are named. */
  codes?: Readonly<Record<string, string>>
}

/** Who issues invoices, with a series of numbers of its own. */
export type LegalEntity = {
  id: string
  key: string
  name: string
  country: string
  address: Address | null
  defaultCurrency: string | null
  numberPrefix: string
  registrations: Registration[]
  tax: TaxSettings
  createdAtMs: number
}
