import type { ProblemError } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { findLegalEntity } from '../entities/legal-entities.postgres.ts'
import { isCountry } from './country.ts'
import type { BillingDetails } from './customer.ts'
import { isEuVatNumber, plainVatNumber } from './eu.ts'

/** The country is an ISO 3166 code. */
export type Address = {
  line1: string | null
  line2: string | null
  city: string | null
  region: string | null
  postalCode: string | null
  country: string
}
/** As 'eu_vat' and 'DE123456789'. */
export type TaxId = { type: string; value: string }
/** Why a customer is exempt from tax, and by which certificate. */
export type Exemption = { reason: string; certificate: string | null }

export const NO_DETAILS: BillingDetails = {
  kind: 'business',
  billingAddress: null,
  taxIds: [],
  taxExemption: null,
  legalEntity: null,
}

/** What is to be changed: of an address the members that are given. */
export type ChangedDetails = Partial<Omit<BillingDetails, 'billingAddress'>> & { billingAddress?: ChangedAddress }
export type ChangedAddress = Partial<Address> | null

/** An address with what is given of another; undefined where there would be no country. */
export function mergedAddress(stored: Address | null, change: Partial<Address>): Address | undefined {
  const {
    line1 = null,
    line2 = null,
    city = null,
    region = null,
    postalCode = null,
    country,
  } = { ...stored, ...change }
  return country === undefined ? undefined : { line1, line2, city, region, postalCode, country }
}

/** Details with VAT numbers of the Union as states write them. */
export function withPlainTaxIds<T extends { taxIds?: readonly TaxId[] }>(details: T): T {
  if (details.taxIds === undefined) return details
  const taxIds = details.taxIds.map(({ type, value }) => ({
    type,
    value: isEuVat(type) ? plainVatNumber(value) : value,
  }))
  return { ...details, taxIds }
}

export async function checkDetails(
  tx: TenantTransaction,
  { billingAddress, legalEntity, taxIds = [] }: Partial<BillingDetails>,
): Promise<ProblemError[]> {
  const errors: ProblemError[] = taxIds.flatMap(({ type, value }, index) =>
    isEuVat(type) && !isEuVatNumber(value)
      ? [{ path: `tax_ids.${index}.value`, message: 'This has not the structure of a VAT number of a member state.' }]
      : [],
  )
  if (billingAddress && !isCountry(billingAddress.country)) {
    errors.push({ path: 'billing_address.country', message: 'This is not a country code of ISO 3166.' })
  }
  if (legalEntity && (await findLegalEntity(tx, legalEntity)) === undefined) {
    errors.push({ path: 'legal_entity', message: 'There is no legal entity with this key.' })
  }
  return errors
}

function isEuVat(type: string): boolean {
  return type === 'eu_vat'
}
