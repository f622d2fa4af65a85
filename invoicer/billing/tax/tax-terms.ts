import { Problem } from '../../../schemas/http/problem.ts'
import { parseQuantity } from '../../../schemas/quantity.ts'
import { isInEu, isVatNumberOf, vatCountryOf } from '../../agreements/customers/eu.ts'
import type { Buyer, PlacedRate, Seller, TaxContext, TaxReason, TaxTerms } from './tax.ts'
import { regionOf, taxCode } from './tax-place.ts'

/** Types of tax ids that are looked at for the reverse charge. */
const VAT_ID_TYPES: ReadonlySet<string> = new Set(['eu_vat', 'vat'])

/**
 * Which tax a supply on a day bears. In this order: who is exempt pays none; a business of another member state of
 * the Union with its VAT number accounts for the tax itself; where the seller is not registered there is none; all others
 * pay the rate of their country, or of its region, for what is sold. Countries are those whose VAT they have.
 * @throws Problem calculation_failed where it cannot be known. An invoice is never untaxed because of that: its
 * subscription is parked.
 */
export function taxTerms(context: TaxContext, day: string, taxClass?: string): TaxTerms {
  const { buyer } = context
  const seller = sellerForVat(context.seller)
  const country = buyer.country === null ? null : vatCountryOf(buyer.country)
  if (buyer.taxExemption !== null) {
    return untaxed(context, country ?? seller.country, day, 'exempt', buyer.taxExemption.certificate)
  }
  if (country === null) {
    throw new Problem(
      'calculation_failed',
      `The tax of customer ${JSON.stringify(buyer.key)} is not known: set the country of its billing address.`,
    )
  }
  if (isReverseCharge(seller, buyer, country)) return untaxed(context, country, day, 'reverse_charge')
  const acrossEu = isInEu(seller.country) && isInEu(country) && country !== seller.country
  const taxed = acrossEu && seller.tax.euConsumers === 'origin' ? seller.country : country
  if (!isRegistered(seller, taxed)) return untaxed(context, taxed, day, 'not_registered')
  const region = regionIn(context, taxed, day, taxClass)
  const rate = context.rateOn(taxed, day, { region, taxClass })
  if (rate === undefined) {
    throw new Problem('calculation_failed', `There is no tax rate of ${taxed} on ${day}: add one to the tax rates.`)
  }
  return {
    ratePercent: rate.ratePercent,
    code: taxCode(rate.region ?? taxed, rate.kind, rate.taxClass ?? undefined),
    reason: reasonOf(rate, context.rateOn(taxed, day, { region })),
    certificate: null,
  }
}

/** That of the customer, where rates in force differ by region. @throws Problem calculation_failed where it is unclear. */
function regionIn(
  { buyer, regional }: TaxContext,
  taxed: string,
  day: string,
  taxClass: string | undefined,
): string | undefined {
  if (buyer.country !== taxed || regional?.(taxed, day, taxClass) !== true) return undefined
  const region = regionOf(taxed, buyer.region ?? null)
  if (region !== undefined) return region
  throw new Problem(
    'calculation_failed',
    `Tax in ${taxed} differs by region: set the region of the billing address of customer ${JSON.stringify(buyer.key)} ` +
      `to its code of ISO 3166-2, as ${taxed}-….`,
  )
}

/** A class has a rate of its own because of what is sold: `standard` is that of anything in the same place. */
function reasonOf({ ratePercent, taxClass }: PlacedRate, standard: PlacedRate | undefined): TaxReason {
  if (taxClass == null) return 'standard_rate'
  const rate = parseQuantity(ratePercent)
  if (rate.isZero()) return 'not_taxable'
  return standard !== undefined && rate.lt(parseQuantity(standard.ratePercent)) ? 'reduced_rate' : 'standard_rate'
}

type VatSeller = Pick<Seller, 'tax'> & { country: string; registeredIn: readonly string[] }

function sellerForVat({ country, registrations, tax }: Seller): VatSeller {
  return {
    tax,
    country: vatCountryOf(country),
    registeredIn: registrations.map((registration) => vatCountryOf(registration.country)),
  }
}

/**
 * Where in the Union a seller declares its tax: in its own member state; one from outside in any in which it is
 * registered.
 */
function homesInEu({ country, registeredIn }: VatSeller): readonly string[] {
  return isInEu(country) ? [country] : registeredIn.filter(isInEu)
}

function isReverseCharge(seller: VatSeller, { kind, taxIds }: Buyer, country: string): boolean {
  const homes = homesInEu(seller)
  if (kind !== 'business' || homes.length === 0 || homes.includes(country)) return false
  return taxIds.some(({ type, value }) => VAT_ID_TYPES.has(type) && isVatNumberOf(country, value))
}

/** One registration at home in the Union covers all of it (one stop shop). */
function isRegistered(seller: VatSeller, taxed: string): boolean {
  const { registeredIn } = seller
  return registeredIn.includes(taxed) || (isInEu(taxed) && homesInEu(seller).some((at) => registeredIn.includes(at)))
}

function untaxed(
  { rateOn }: TaxContext,
  country: string,
  day: string,
  reason: TaxReason,
  certificate: string | null = null,
): TaxTerms {
  return { ratePercent: '0', code: taxCode(country, rateOn(country, day)?.kind ?? 'tax'), reason, certificate }
}
