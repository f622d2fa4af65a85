import { type Static, Type } from 'typebox'
import { type Branding, type InvoiceTexts, MOST_FIELDS } from '../../../agreements/invoice-settings/texts.ts'
import { Nullable, strict, Text } from '../shapes.ts'

/** A text of several lines: no control characters but line breaks, no lone surrogates. */
const Lines = (maxLength: number) =>
  Type.String({ minLength: 1, maxLength, pattern: '^[^\\p{Cs}\\x00-\\x09\\x0b-\\x1f\\x7f-\\x9f]*$' })
const Colour = Type.String({ pattern: '^#[0-9a-fA-F]{6}$', examples: ['#0b5fff'] })

const brandingMembers = {
  name: Type.Optional(Nullable(Text(512))),
  address_lines: Type.Optional(Type.Array(Text(256), { maxItems: 8 })),
  logo_url: Type.Optional(Nullable(Type.String({ maxLength: 2_048, pattern: '^https://[^\\s\\p{Cc}\\p{Cs}]+$' }))),
  primary_colour: Type.Optional(Nullable(Colour)),
  accent_colour: Type.Optional(Nullable(Colour)),
}
const BrandingShape = Type.Object(brandingMembers, strict)

export const textsExample = {
  custom_fields: { 'Purchase order': 'PO-4711' },
  memo: 'Thank you for your order.',
  footer: 'Registered in Athens.',
  branding: {
    name: 'Tallyline Hellas',
    address_lines: ['Leoforos Vasilissis Sofias 1', '10671 Athens'],
    logo_url: 'https://tallyline.example/logo.svg',
    primary_colour: '#0b5fff',
    accent_colour: null,
  },
}

const Fields = Type.Record(Type.String({ pattern: '^[^\\p{Cc}\\p{Cs}]{1,64}$' }), Text(512), {
  ...strict,
  maxProperties: MOST_FIELDS,
  description: 'By name, such as a purchase order number. An invoice has those of all its owners, at most 20.',
})
const textsMembers = {
  // What is answered was checked when it came: what writes answers knows no such patterns.
  custom_fields: Type.Record(Type.String(), Type.String()),
  memo: Nullable(Lines(4_000)),
  footer: Nullable(Lines(4_000)),
  branding: Nullable(BrandingShape),
}

/** All of it is replaced: what is not given is not there. */
export const NewTexts = Type.Object(
  {
    custom_fields: Type.Optional(Fields),
    memo: Type.Optional(textsMembers.memo),
    footer: Type.Optional(textsMembers.footer),
    branding: Type.Optional(textsMembers.branding),
  },
  { ...strict, examples: [textsExample] },
)
export const TextsAnswer = Type.Object(textsMembers, { examples: [textsExample] })

export function textsOf({ custom_fields, memo, footer, branding }: Static<typeof NewTexts>): InvoiceTexts {
  return {
    customFields: custom_fields ?? {},
    memo: memo ?? null,
    footer: footer ?? null,
    branding: branding ? brandingOf(branding) : null,
  }
}

function brandingOf(given: Static<typeof BrandingShape>): Branding {
  return {
    name: given.name ?? null,
    addressLines: given.address_lines ?? [],
    logoUrl: given.logo_url ?? null,
    primaryColour: given.primary_colour ?? null,
    accentColour: given.accent_colour ?? null,
  }
}

export function textsAnswer({ customFields, memo, footer, branding }: InvoiceTexts): Static<typeof TextsAnswer> {
  return {
    custom_fields: { ...customFields },
    memo,
    footer,
    branding: branding && {
      name: branding.name,
      address_lines: branding.addressLines,
      logo_url: branding.logoUrl,
      primary_colour: branding.primaryColour,
      accent_colour: branding.accentColour,
    },
  }
}
