import { type Static, Type } from 'typebox'
import { MoneyText } from '../../../../schemas/money.ts'
import type { InvoiceDiscountSum, InvoiceLine } from '../../../billing/invoices/invoice.ts'
import { Id, Nullable } from '../shapes.ts'

/** How invoices show what discounts took off: line by line, and each in sum. */
export const LineDiscountAnswer = Type.Object(
  {
    id: Id,
    coupon: Type.String(),
    line: Type.Integer({ description: 'The index of the line that this one lowers.' }),
  },
  { description: 'Of a line below 0 that a discount made.' },
)

export const DiscountSumAnswer = Type.Object({
  id: Id,
  coupon: Type.String(),
  cycle: Nullable(Type.Integer({ description: 'The how-many-th invoice it is for; null: it lasts for ever.' })),
  amount: Type.String({ ...MoneyText, description: 'What it took off the lines, before tax.' }),
})

export function lineDiscountAnswer(discount: NonNullable<InvoiceLine['discount']>): Static<typeof LineDiscountAnswer> {
  return { id: discount.id, coupon: discount.couponKey, line: discount.lowers }
}

export function discountSumAnswer(
  { discountId, couponKey, cycle, amountMinor }: InvoiceDiscountSum,
  money: (amountMinor: bigint) => string,
): Static<typeof DiscountSumAnswer> {
  return { id: discountId, coupon: couponKey, cycle, amount: money(amountMinor) }
}
