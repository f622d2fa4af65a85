import { type Static, Type } from 'typebox'
import { MoneyText } from '../../../../schemas/money.ts'
import { QuantityText } from '../../../../schemas/quantity.ts'
import type { LineTax } from '../../../billing/tax/tax.ts'
import { partsOfCode } from '../../../billing/tax/tax-place.ts'
import { Nullable } from '../shapes.ts'

export const taxExample = {
  amount: '1.57',
  rate_percent: '24',
  code: 'GR-VAT',
  region: null,
  tax_class: null,
  reason: 'standard_rate' as const,
  certificate: null,
  inclusive: false,
}

/** The tax of a line; null where nothing is taxed. */
export const LineTaxAnswer = Type.Object({
  amount: MoneyText,
  rate_percent: QuantityText,
  code: Type.String({ description: 'Country, or region, and kind of the tax.' }),
  region: Nullable(Type.String({ description: 'Whose rate it is, by ISO 3166-2; null: that of the country.' })),
  tax_class: Nullable(Type.String({ description: 'Of what is sold, if the rate is of a class.' })),
  reason: Type.Union(
    [
      Type.Literal('standard_rate'),
      Type.Literal('reduced_rate'),
      Type.Literal('reverse_charge'),
      Type.Literal('exempt'),
      Type.Literal('not_registered'),
      Type.Literal('not_taxable'),
    ],
    { description: 'Why it is this tax; all but the first two make none.' },
  ),
  certificate: Nullable(Type.String({ description: 'Of who is exempt.' })),
  inclusive: Type.Boolean({ description: 'Whether the tax is inside the amount, or comes on top of it.' }),
})

export function lineTaxAnswer(tax: LineTax, money: (amountMinor: bigint) => string): Static<typeof LineTaxAnswer> {
  const { ratePercent, reason, certificate, inclusive } = tax
  const { code, region, taxClass } = partsOfCode(tax.code)
  const rate = { rate_percent: ratePercent, code, region, tax_class: taxClass }
  return { amount: money(tax.amountMinor), ...rate, reason, certificate, inclusive }
}
