import { type Static, Type } from 'typebox'
import { MoneyText } from '../../../../schemas/money.ts'
import type { InvoicePart } from '../../../billing/consolidated/part.ts'
import type { Invoice } from '../../../billing/invoices/invoice.ts'
import { Id, Instant, instantText, Nullable } from '../shapes.ts'

const Whose = Type.Object({ id: Id, external_key: Type.String() })

const PartAnswer = Type.Object({
  invoice_id: Type.String({ format: 'uuid', description: 'Of the part: it has no number, and is not paid by itself.' }),
  subscription_id: Id,
  customer: Type.Object({ id: Id, external_key: Type.String() }, { description: 'Whose subscription it is.' }),
  off_cycle: Type.Boolean(),
  period_start: Instant,
  period_end: Instant,
  first_line: Type.Integer({ description: 'Its lines are those of the invoice from this index on.' }),
  line_count: Type.Integer(),
  subtotal: MoneyText,
  tax: MoneyText,
  total: MoneyText,
})

export const partMembers = {
  on_behalf_of: Nullable(
    Type.Object(Whose.properties, {
      description:
        'Whose subscription it is, or who has its items, where another pays; null: that of the customer, or of several.',
    }),
  ),
  part_of: Nullable(
    Type.String({
      format: 'uuid',
      description: 'The invoice of which it is a part: that one is paid, credited or voided.',
    }),
  ),
  parts: Type.Array(PartAnswer, {
    description: 'By subscription, in the order of the lines; empty where it is not consolidated.',
  }),
}

export const partsExample = { on_behalf_of: null, part_of: null, parts: [] }

export function partsAnswer({ onBehalfOf, partOf, parts }: Invoice, money: (amountMinor: bigint) => string) {
  return {
    on_behalf_of: onBehalfOf && { id: onBehalfOf.id, external_key: onBehalfOf.externalKey },
    part_of: partOf,
    parts: parts.map((part) => partAnswer(part, money)),
  }
}

function partAnswer(part: InvoicePart, money: (amountMinor: bigint) => string): Static<typeof PartAnswer> {
  return {
    invoice_id: part.invoiceId,
    subscription_id: part.subscriptionId,
    customer: { id: part.customer.id, external_key: part.customer.externalKey },
    off_cycle: part.offCycle,
    period_start: instantText(part.periodStartMs),
    period_end: instantText(part.periodEndMs),
    first_line: part.firstLine,
    line_count: part.lineCount,
    subtotal: money(part.subtotalMinor),
    tax: money(part.taxMinor),
    total: money(part.totalMinor),
  }
}
