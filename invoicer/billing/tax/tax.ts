import type { Address } from '../../agreements/customers/billing-details.ts'
import type { BillingDetails } from '../../agreements/customers/customer.ts'
import type { Registration, TaxSettings } from '../../agreements/entities/legal-entity.ts'

/**
 * Why a line has the tax it has. `standard_rate` is the country's or region's, or more, `reduced_rate` one below that; the
 * others make no tax, and say why on the invoice. `not_taxable` is what is sold, where `exempt` is who buys.
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
  /** Where, which tax, and of which class, if the rate is that of one (tax-place.ts): 'GR-VAT', 'CA-QC-QST/saas'. */
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
  /** As the address has it; left out: nobody asks for it. */
  region?: string | null
  zone: string
  /** For who needs more than the country. */
  address?: Address | null
}

/**
 * The kind of tax ('vat', 'gst') and its rate in a country on a day, as '2024-09-01'; undefined where none is known. The most
 * specific of what is sold where: of region and class, of the region, of country and class, of the country.
 */
export type RateOn = (country: string, day: string, of?: RateOf) => PlacedRate | undefined
/** `region` as ISO 3166-2 has it; left out: not known, or any. */
export type RateOf = { region?: string | undefined; taxClass?: string | undefined }
export type CountryRate = { kind: string; ratePercent: string }
/** With the region and the class that it is of, if it is of one. */
export type PlacedRate = CountryRate & { region?: string | null; taxClass?: string | null }

/** Whether the rate of what is sold in a country on a day may be that of a region. */
export type RegionalOn = (country: string, day: string, taxClass: string | undefined) => boolean

/** `regional` left out: no rate is of a region. */
export type TaxContext = { seller: Seller; buyer: Buyer; rateOn: RateOn; regional?: RegionalOn }
