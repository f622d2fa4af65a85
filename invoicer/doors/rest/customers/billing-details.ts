import { type Static, Type } from 'typebox'
import type { Address, ChangedDetails } from '../../../agreements/customers/billing-details.ts'
import type { BillingDetails } from '../../../agreements/customers/customer.ts'
import { Key, Nullable, strict, Text } from '../shapes.ts'

export const CountryText = Type.String({
  pattern: '^[A-Z]{2}$',
  description: 'A country code of ISO 3166.',
  examples: ['GR'],
})

const Part = Type.Optional(Nullable(Text(256)))
const addressParts = { line1: Part, line2: Part, city: Part, region: Part, postal_code: Part }
export const AddressShape = Type.Object({ ...addressParts, country: CountryText }, strict)
export const AddressChange = Type.Object(
  { ...addressParts, country: Type.Optional(CountryText) },
  { ...strict, description: 'Members that are given are changed, the others stay. Null takes the whole address away.' },
)

export const addressExample = {
  line1: 'Leoforos Vasilissis Sofias 1',
  line2: null,
  city: 'Athens',
  region: null,
  postal_code: '10671',
  country: 'GR',
}
export const detailsExample = {
  kind: 'business' as const,
  billing_address: addressExample,
  tax_ids: [{ type: 'eu_vat', value: 'EL123456789' }],
  tax_exemption: null,
  legal_entity: null,
}

const TaxIdShape = Type.Object(
  {
    type: Type.String({
      pattern: '^[a-z][a-z0-9_]{1,31}$',
      description:
        'What kind of number it is. VAT numbers of the European Union have the type eu_vat, and their structure is checked.',
    }),
    value: Text(64),
  },
  strict,
)

/** What may be given of a customer beside its name, and be changed. */
export const detailMembers = {
  kind: Type.Optional(Type.Union([Type.Literal('business'), Type.Literal('consumer')])),
  billing_address: Type.Optional(Nullable(AddressShape)),
  tax_ids: Type.Optional(Type.Array(TaxIdShape, { maxItems: 20 })),
  tax_exemption: Type.Optional(
    Nullable(Type.Object({ reason: Text(256), certificate: Type.Optional(Nullable(Text(256))) }, strict)),
  ),
  legal_entity: Type.Optional(Nullable(Key)),
}

export const changeMembers = { ...detailMembers, billing_address: Type.Optional(Nullable(AddressChange)) }

export const answerMembers = {
  kind: Type.Union([Type.Literal('business'), Type.Literal('consumer')]),
  billing_address: Nullable(AddressShape),
  tax_ids: Type.Array(TaxIdShape),
  tax_exemption: Nullable(Type.Object({ reason: Type.String(), certificate: Nullable(Type.String()) })),
  legal_entity: Nullable(Type.String({ description: 'The key of who issues its invoices.' })),
}

type Details = {
  kind?: BillingDetails['kind']
  tax_ids?: BillingDetails['taxIds']
  tax_exemption?: { reason: string; certificate?: string | null } | null
  legal_entity?: string | null
}

/** Only what is given. */
export function detailsOf({
  billing_address,
  ...rest
}: Details & { billing_address?: Static<typeof AddressShape> | null }): Partial<BillingDetails> {
  if (billing_address === undefined) return otherDetailsOf(rest)
  return { ...otherDetailsOf(rest), billingAddress: billing_address && addressOf(billing_address) }
}

export function changedDetailsOf({
  billing_address,
  ...rest
}: Details & { billing_address?: Static<typeof AddressChange> | null }): ChangedDetails {
  if (billing_address === undefined) return otherDetailsOf(rest)
  return { ...otherDetailsOf(rest), billingAddress: billing_address && addressChangeOf(billing_address) }
}

function otherDetailsOf({ kind, tax_ids, tax_exemption, legal_entity }: Details) {
  const details: Partial<Omit<BillingDetails, 'billingAddress'>> = {}
  if (kind !== undefined) details.kind = kind
  if (tax_ids !== undefined) details.taxIds = tax_ids
  if (tax_exemption !== undefined) {
    details.taxExemption = tax_exemption && { ...tax_exemption, certificate: tax_exemption.certificate ?? null }
  }
  if (legal_entity !== undefined) details.legalEntity = legal_entity
  return details
}

export function addressOf({ postal_code, ...address }: Static<typeof AddressShape>): Address {
  const { line1 = null, line2 = null, city = null, region = null, country } = address
  return { line1, line2, city, region, postalCode: postal_code ?? null, country }
}

export function addressChangeOf({ postal_code, ...address }: Static<typeof AddressChange>): Partial<Address> {
  return postal_code === undefined ? address : { ...address, postalCode: postal_code }
}

export function addressAnswer({ postalCode, ...address }: Address): Static<typeof AddressShape> {
  return { ...address, postal_code: postalCode }
}

export function detailsAnswer({ kind, billingAddress, taxIds, taxExemption, legalEntity }: BillingDetails) {
  return {
    kind,
    billing_address: billingAddress && addressAnswer(billingAddress),
    tax_ids: taxIds,
    tax_exemption: taxExemption,
    legal_entity: legalEntity,
  }
}
