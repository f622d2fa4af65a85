import type { Address } from '../../agreements/customers/billing-details.ts'
import type { BillingDetails } from '../../agreements/customers/customer.ts'
import type { Registration, TaxSettings } from '../../agreements/entities/legal-entity.ts'

/**
 * Why a line has the tax it has. `standard_rate` is the country's, `reduced_rate` another one of it; the others make no tax,
 * and say why on the invoice. `not_taxable` is what is sold, where `exempt` is who buys.
 */
export type TaxReason =
  | 'standard_rate'
  | 'reduced_rate'
  | 'reverse_charge'
  | 'exempt'
  | 'not_registered'
  | 'not_taxable'

/** What decides over the tax of an amount. `ratePercent` is a plain decimal of at most six places: '25.5' is 25.5 %. */
export type TaxTerms = {
  ratePercent: string
  /** Country and kind of the tax: 'GR-VAT'. */
  code: string
  reason: TaxReason
  /** The certificate of who is exempt, if there is one. */
  certificate: string | null
}

/** The terms of one line. Inclusive: the tax is inside the line's amount, otherwise it comes on top. */
export type LineTerms = TaxTerms & { inclusive: boolean }
export type LineTax = LineTerms & { amountMinor: bigint }

/** Who issues the invoice. Countries are ISO 3166 codes. */
export type Seller = { id: string; country: string; registrations: readonly Registration[]; tax: TaxSettings }

export type Buyer = Pick<BillingDetails, 'kind' | 'taxIds' | 'taxExemption'> & {
  /** For messages. */
  key: string
  country: string | null
  zone: string
  /** For who needs more than the country. */
  address?: Address | null
}

/** The kind of tax ('vat', 'gst') and its rate in a country on a day, as '2024-09-01'; undefined where none is known. */
export type RateOn = (country: string, day: string) => CountryRate | undefined
export type CountryRate = { kind: string; ratePercent: string }

export type TaxContext = { seller: Seller; buyer: Buyer; rateOn: RateOn }
