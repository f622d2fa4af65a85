import { type Static, Type } from 'typebox'
import { MoneyText } from '../../../../schemas/money.ts'
import { QuantityText } from '../../../../schemas/quantity.ts'
import type { LineTax } from '../../../billing/tax/tax.ts'
import { Nullable } from '../shapes.ts'

export const taxExample = {
  amount: '1.57',
  rate_percent: '24',
  code: 'GR-VAT',
  reason: 'standard_rate' as const,
  certificate: null,
  inclusive: false,
}

/** The tax of a line; null where nothing is taxed. */
export const LineTaxAnswer = Type.Object({
  amount: MoneyText,
  rate_percent: QuantityText,
  code: Type.String({ description: 'Country and kind of the tax.' }),
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
  const { ratePercent, code, reason, certificate, inclusive } = tax
  return { amount: money(tax.amountMinor), rate_percent: ratePercent, code, reason, certificate, inclusive }
}
