import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { formatMoney, MoneyText } from '../../../../schemas/money.ts'
import type { Invoice, InvoiceLine } from '../../../billing/invoices/invoice.ts'
import { listInvoices } from '../../../billing/invoices/invoices.postgres.ts'
import { INVOICE_STATES } from '../../../billing/invoices/lifecycle.ts'
import { readInvoice } from '../../../billing/invoices/read-invoice.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantText,
  instantTextOrNull,
  Key,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from '../shapes.ts'
import { partMembers, partsAnswer, partsExample } from './invoice-parts.ts'
import { TextsAnswer, textsAnswer, textsExample } from './invoice-texts.ts'
import { attributesExample, LineAttributesAnswer, lineAttributesAnswer } from './line-attributes.ts'
import { DiscountSumAnswer, discountSumAnswer, LineDiscountAnswer, lineDiscountAnswer } from './line-discount.ts'
import { LineTaxAnswer, lineTaxAnswer, taxExample } from './line-tax.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  number: 'HELLAS-000001',
  state: 'paid',
  legal_entity: 'hellas',
  customer: { id: '01890a5d-ac96-774b-bcce-b302099a8056', external_key: 'customer-0' },
  ...partsExample,
  subscription_id: '01890a5d-ac96-774b-bcce-b302099a8055',
  plan: 'llm',
  plan_version: 1,
  plan_hash: '4f1c3d0b8a96e2750b6f4d1f9c8e7a6b5d4c3b2a19080706f5e4d3c2b1a09f8e',
  currency: 'USD',
  off_cycle: false,
  period_start: '2023-11-01T00:00:00.000Z',
  period_end: '2023-12-01T00:00:00.000Z',
  lines: [
    {
      index: 0,
      charge: 'context',
      description: 'Context tokens',
      meter: 'context_tokens',
      period_start: '2023-11-01T00:00:00.000Z',
      period_end: '2023-12-01T00:00:00.000Z',
      plan: 'llm',
      plan_version: 1,
      plan_hash: '4f1c3d0b8a96e2750b6f4d1f9c8e7a6b5d4c3b2a19080706f5e4d3c2b1a09f8e',
      quantity: '2182292',
      events: 1937,
      amount: '6.55',
      breakdown: [{ type: 'per_unit', quantity: '2182292', unit_amount: '0.000003', amount: '6.546876' }],
      seal_id: '01890a5d-ac96-774b-bcce-b302099a8054',
      digest: '170141183460469231731687303715884105727',
      attributes: attributesExample,
      tax: taxExample,
      discount: null,
    },
  ],
  discounts: [],
  subtotal: '6.55',
  tax: '1.57',
  total: '8.12',
  credit: '0.00',
  balance: '0.00',
  carried_in: '0.00',
  carried_out: '0.00',
  amount_due: '8.12',
  credited: '0.00',
  amount_remaining: '0.00',
  finalised_at: '2023-12-02T00:00:01.000Z',
  paid_at: '2023-12-02T00:00:02.000Z',
  voided_at: null,
  change_reason: null,
  replaces: null,
  replaced_by: null,
  ...textsExample,
  billing_run_id: '01890a5d-ac96-774b-bcce-b302099a8053',
}

const LineAnswer = Type.Object({
  index: Type.Integer(),
  charge: Type.String(),
  description: Type.String(),
  meter: Nullable(Type.String()),
  period_start: Instant,
  period_end: Instant,
  plan: Nullable(
    Type.String({ description: 'Whose charge it is; of a one-time item that of the invoice. null: no plan made it.' }),
  ),
  plan_version: Nullable(Type.Integer()),
  plan_hash: Nullable(Type.String()),
  quantity: Nullable(Type.String({ description: 'What the meter counted, as the seal has it.' })),
  events: Nullable(Type.Integer()),
  amount: MoneyText,
  breakdown: Type.Array(
    Type.Object({ type: Type.String() }, { additionalProperties: true, description: 'Amounts before rounding.' }),
  ),
  seal_id: Nullable(Id),
  digest: Nullable(Type.String({ description: 'The sum of identity hashes of the events, mod 2^128.' })),
  attributes: Nullable(LineAttributesAnswer),
  tax: Nullable(LineTaxAnswer),
  discount: Nullable(LineDiscountAnswer),
})

export const InvoiceAnswer = Type.Object(
  {
    id: Id,
    number: Nullable(
      Type.String({
        description:
          'Gapless within the tenant or, with its own prefix, the legal entity; null where it is suppressed.',
      }),
    ),
    legal_entity: Nullable(Type.String({ description: 'The key of who issued it.' })),
    state: Type.Enum([...INVOICE_STATES]),
    customer: Type.Object({ id: Id, external_key: Type.String() }, { description: 'Who pays it.' }),
    ...partMembers,
    subscription_id: Nullable(Type.String({ format: 'uuid', description: 'null: it belongs to no subscription.' })),
    plan: Nullable(Type.String()),
    plan_version: Nullable(Type.Integer()),
    plan_hash: Nullable(Type.String({ description: 'SHA-256 of what decides amounts in that version of the plan.' })),
    currency: Type.String(),
    off_cycle: Type.Boolean({
      description: 'It bills no usage of its period, but what waited of others, or fees that were due before its end.',
    }),
    period_start: Instant,
    period_end: Instant,
    lines: Type.Array(LineAnswer),
    discounts: Type.Array(DiscountSumAnswer),
    subtotal: MoneyText,
    tax: MoneyText,
    total: MoneyText,
    credit: Type.String({ ...MoneyText, description: 'What prepaid credit paid of the total.' }),
    balance: Type.String({
      ...MoneyText,
      description: "What the customer's balance paid; below 0 what a negative total gave to it.",
    }),
    carried_in: Type.String({ ...MoneyText, description: 'What earlier invoices carried forward to it.' }),
    carried_out: Type.String({
      ...MoneyText,
      description: 'What is too little to be paid, and due with the next one.',
    }),
    amount_due: Type.String({
      ...MoneyText,
      description: 'As issued: total − credit − balance + carried in − carried out.',
    }),
    credited: Type.String({ ...MoneyText, description: 'What credit notes gave back of the total.' }),
    amount_remaining: Type.String({ ...MoneyText, description: 'What is still to be paid.' }),
    finalised_at: Instant,
    paid_at: Nullable(Instant),
    voided_at: Nullable(Instant),
    change_reason: Nullable(Type.String({ description: 'Why it was voided, reissued or written off, as last told.' })),
    replaces: Nullable(Type.String({ description: 'The id of the void invoice whose place it took.' })),
    replaced_by: Nullable(Type.String({ description: 'The id of the invoice that took its place.' })),
    ...TextsAnswer.properties,
    billing_run_id: Nullable(Type.String({ format: 'uuid', description: 'null: no run made it.' })),
  },
  { examples: [example] },
)

/** Invoices as issued; they never change. */
export function invoicesDoor(app: App, deps: DoorDeps): void {
  const tags = ['invoices']
  app.get(
    '/api/v1/invoices/:id',
    {
      config: { permission: 'billing:invoices:read' },
      schema: { tags, summary: 'Read an invoice with its lines', params: IdParams, response: { 200: InvoiceAnswer } },
    },
    async (request) =>
      invoiceAnswer(await deps.transact(request.caller.tenantId, (tx) => readInvoice(tx, request.params.id))),
  )
  app.get(
    '/api/v1/invoices',
    {
      config: { permission: 'billing:invoices:read' },
      schema: {
        tags,
        summary: 'List invoices with their lines',
        querystring: Type.Object(
          {
            customer: Type.Optional(Type.String({ ...Key, description: 'Id or external key.' })),
            subscription: Type.Optional(Type.String({ ...Key, description: 'Id or external key.' })),
            billing_run: Type.Optional(Id),
            ...pageMembers,
          },
          strict,
        ),
        response: { 200: listOf('invoices', InvoiceAnswer, example) },
      },
    },
    async (request) => {
      const { query } = request
      const page = pageOf(query)
      const filter = {
        customer: query.customer ?? null,
        subscription: query.subscription ?? null,
        billingRun: query.billing_run ?? null,
      }
      const invoices = await deps.transact(request.caller.tenantId, (tx) => listInvoices(tx, filter, page))
      return { invoices: invoices.map(invoiceAnswer), next: nextOf(invoices, page) }
    },
  )
}

export function invoiceAnswer(invoice: Invoice): Static<typeof InvoiceAnswer> {
  const money = (amountMinor: bigint) => formatMoney(amountMinor, invoice.currency)
  return {
    id: invoice.id,
    number: invoice.number,
    legal_entity: invoice.legalEntity,
    state: invoice.state,
    customer: { id: invoice.customer.id, external_key: invoice.customer.externalKey },
    ...partsAnswer(invoice, money),
    subscription_id: invoice.subscriptionId,
    plan: invoice.planKey,
    plan_version: invoice.planVersion,
    plan_hash: invoice.planHash,
    currency: invoice.currency,
    off_cycle: invoice.offCycle,
    period_start: instantText(invoice.periodStartMs),
    period_end: instantText(invoice.periodEndMs),
    lines: invoice.lines.map((line) => lineAnswer(line, money)),
    discounts: invoice.discounts.map((one) => discountSumAnswer(one, money)),
    subtotal: money(invoice.subtotalMinor),
    tax: money(invoice.taxMinor),
    total: money(invoice.totalMinor),
    credit: money(invoice.creditMinor),
    balance: money(invoice.balanceMinor),
    carried_in: money(invoice.carriedInMinor),
    carried_out: money(invoice.carriedOutMinor),
    amount_due: money(invoice.amountDueMinor),
    credited: money(invoice.creditedMinor),
    amount_remaining: money(isOwed(invoice) ? invoice.amountDueMinor - invoice.settledMinor : 0n),
    finalised_at: instantText(invoice.finalisedAtMs),
    paid_at: instantTextOrNull(invoice.paidAtMs),
    voided_at: instantTextOrNull(invoice.voidedAtMs),
    change_reason: invoice.changeReason,
    replaces: invoice.replacesId,
    replaced_by: invoice.replacedById,
    ...textsAnswer(invoice.texts),
    billing_run_id: invoice.billingRunId,
  }
}

function isOwed({ state }: Invoice): boolean {
  return state === 'finalised' || state === 'uncollectible'
}

function lineAnswer(line: InvoiceLine, money: (amountMinor: bigint) => string): Static<typeof LineAnswer> {
  return {
    index: line.index,
    charge: line.chargeKey,
    description: line.description,
    meter: line.meter,
    period_start: instantText(line.periodStartMs),
    period_end: instantText(line.periodEndMs),
    plan: line.planKey,
    plan_version: line.planVersion,
    plan_hash: line.planHash,
    quantity: line.usage?.quantity ?? null,
    events: line.usage?.events ?? null,
    amount: money(line.amountMinor),
    breakdown: line.breakdown,
    seal_id: line.usage?.sealId ?? null,
    digest: line.usage?.digest ?? null,
    attributes: lineAttributesAnswer(attributesOf(line)),
    tax: line.tax && lineTaxAnswer(line.tax, money),
    discount: line.discount && lineDiscountAnswer(line.discount),
  }
}

/** A correction has those of all that is known now. */
function attributesOf({ usage, breakdown: [first] }: InvoiceLine) {
  const counted = first?.type === 'adjustment' ? first.counted : usage?.counted
  return counted?.attributes
}
