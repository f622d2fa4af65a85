import { type Static, Type } from 'typebox'
import { CurrencyText } from '../../../../schemas/money.ts'
import type { ChangeLegalEntity } from '../../../agreements/entities/change-legal-entity.ts'
import type { CreateLegalEntity } from '../../../agreements/entities/create-legal-entity.ts'
import type { TaxSettings } from '../../../agreements/entities/legal-entity.ts'
import { TAX_CLASS } from '../../../agreements/plans/tax-class.ts'
import { AddressChange, AddressShape, addressChangeOf, addressOf, CountryText } from '../customers/billing-details.ts'
import { Key, Nullable, strict, Text } from '../shapes.ts'

export const entityExample = {
  key: 'hellas',
  name: 'Tallyline Hellas',
  country: 'GR',
  tax_registrations: [{ country: 'GR', number: 'EL123456789' }],
}

export const Registrations = Type.Array(Type.Object({ country: CountryText, number: Text(64) }, strict), {
  maxItems: 300,
  description:
    'Where it has to charge tax. In the European Union one at home, if that is a member state, covers the others; for ' +
    'who is outside any in a member state does (one stop shop). While tax is enabled there is at least one.',
})
const taxMembers = {
  enabled: Type.Boolean(),
  engine: Type.Union([Type.Literal('embedded'), Type.Literal('stripe')], {
    description:
      'Who knows the rates: open data and your own, or Stripe Tax, which the invoicer asks with STRIPE_TAX_KEY.',
  }),
  rounding: Type.Union([Type.Literal('per_line'), Type.Literal('per_invoice')], {
    description: 'Whether the tax of each line is rounded, or that of the invoice.',
  }),
  amounts: Type.Union([Type.Literal('exclusive'), Type.Literal('inclusive')], {
    description: 'Whether tax comes on top of the amounts of lines, or is inside them.',
  }),
  eu_consumers: Type.Union([Type.Literal('destination'), Type.Literal('origin')], {
    description:
      'Whose rate consumers in other member states of the European Union pay: theirs, or that of the seller.',
  }),
}
const codes = Type.Record(Type.String({ pattern: TAX_CLASS }), Type.String({ pattern: '^txcd_[0-9A-Za-z]{1,32}$' }), {
  maxProperties: 100,
  description: "Stripe's tax code of each tax class, for its engine; all together, in place of those before.",
})
export const TaxShape = Type.Object({ ...taxMembers, codes }, strict)
const changeMembers = {
  name: Type.Optional(Text(512)),
  address: Type.Optional(Nullable(AddressChange)),
  tax_registrations: Type.Optional(Registrations),
  tax: Type.Optional(Type.Partial(TaxShape)),
}
export const NewEntity = Type.Object(
  {
    ...changeMembers,
    key: Key,
    name: Text(512),
    address: Type.Optional(Nullable(AddressShape)),
    country: CountryText,
    default_currency: Type.Optional(Nullable(CurrencyText)),
    number_prefix: Type.Optional(
      Type.String({
        pattern: '^[A-Z0-9][A-Z0-9-]{0,15}$',
        description: 'Of its own gapless invoice numbers; by default made from the key.',
      }),
    ),
  },
  { ...strict, examples: [entityExample] },
)
type NewEntityBody = Static<typeof NewEntity>
export const EntityChange = Type.Object(changeMembers, { ...strict, examples: [{ tax: { rounding: 'per_invoice' } }] })
type EntityChangeBody = Static<typeof EntityChange>

const DEFAULT_TAX: TaxSettings = {
  enabled: true,
  engine: 'embedded',
  rounding: 'per_line',
  inclusive: false,
  euConsumers: 'destination',
}

export function entityOf(body: NewEntityBody): CreateLegalEntity {
  return {
    key: body.key,
    name: body.name,
    country: body.country,
    address: body.address ? addressOf(body.address) : null,
    defaultCurrency: body.default_currency ?? null,
    numberPrefix: body.number_prefix ?? prefixFrom(body.key),
    registrations: body.tax_registrations ?? [],
    tax: { ...DEFAULT_TAX, ...taxOf(body.tax) },
  }
}

/** Only what is given. */
export function changeOf({ name, address, tax_registrations, tax }: EntityChangeBody): ChangeLegalEntity {
  const change: ChangeLegalEntity = {}
  if (name !== undefined) change.name = name
  if (address !== undefined) change.address = address && addressChangeOf(address)
  if (tax_registrations !== undefined) change.registrations = tax_registrations
  if (tax !== undefined) change.tax = taxOf(tax)
  return change
}

function taxOf({ enabled, engine, rounding, amounts, eu_consumers, codes }: NonNullable<EntityChangeBody['tax']> = {}) {
  const tax: Partial<TaxSettings> = {}
  if (enabled !== undefined) tax.enabled = enabled
  if (engine !== undefined) tax.engine = engine
  if (rounding !== undefined) tax.rounding = rounding
  if (amounts !== undefined) tax.inclusive = amounts === 'inclusive'
  if (eu_consumers !== undefined) tax.euConsumers = eu_consumers
  if (codes !== undefined) tax.codes = codes
  return tax
}

function prefixFrom(key: string): string {
  return key
    .toUpperCase()
    .replace(/[^A-Z0-9]+/g, '-')
    .replace(/^-/, '')
    .slice(0, 16)
}
