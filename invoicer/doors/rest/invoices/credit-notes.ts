import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { CurrencyText, formatMoney, MoneyText } from '../../../../schemas/money.ts'
import type { CreditNote } from '../../../collection/credit-notes/credit-note.ts'
import { issueCreditNote, readCreditNotes } from '../../../collection/credit-notes/issue-credit-note.ts'
import { type DoorDeps, Id, IdParams, Instant, instantText, Key, strict, Text } from '../shapes.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8061',
  number: 'CN-000001',
  invoice_id: '01890a5d-ac96-774b-bcce-b302099a8057',
  customer_id: '01890a5d-ac96-774b-bcce-b302099a8056',
  currency: 'USD',
  reason: 'An outage on 12 November',
  lines: [{ line: 0, subtotal: '5.00', tax: '1.20' }],
  subtotal: '5.00',
  tax: '1.20',
  total: '6.20',
  off_amount_due: '0.00',
  to_balance: '6.20',
  issued_at: '2023-12-05T00:00:00.000Z',
}

const NewCreditNote = Type.Object(
  {
    reason: Text(1000),
    amount: Type.Optional(
      Type.String({ ...MoneyText, description: 'Tax included, spread over the lines by what is left of them.' }),
    ),
    lines: Type.Optional(
      Type.Array(
        Type.Object(
          {
            line: Type.Integer({ minimum: 0, maximum: 32_767, description: 'Its index on the invoice.' }),
            amount: Type.Optional(
              Type.String({ ...MoneyText, description: 'Tax included; all that is left of it unless told.' }),
            ),
          },
          strict,
        ),
        { minItems: 1, maxItems: 1_000 },
      ),
    ),
  },
  { ...strict, examples: [{ reason: example.reason, lines: [{ line: 0, amount: '6.20' }] }] },
)

const CreditNoteAnswer = Type.Object(
  {
    id: Id,
    number: Type.String({ description: 'Gapless within the tenant, a series beside that of invoices.' }),
    invoice_id: Id,
    customer_id: Id,
    currency: CurrencyText,
    reason: Type.String(),
    lines: Type.Array(Type.Object({ line: Type.Integer(), subtotal: MoneyText, tax: MoneyText })),
    subtotal: MoneyText,
    tax: MoneyText,
    total: MoneyText,
    off_amount_due: Type.String({ ...MoneyText, description: 'What it took off the amount that was due.' }),
    to_balance: Type.String({ ...MoneyText, description: "What went to the customer's balance." }),
    issued_at: Instant,
  },
  { examples: [example] },
)

const Headers = Type.Object({
  'idempotency-key': Type.String({ ...Key, description: 'The same key again is answered with the note it made.' }),
})

const tags = ['invoices']
const url = '/api/v1/invoices/:id/credit-notes'

/** What is given back of an issued invoice, which itself never changes. */
export function creditNotesDoor(app: App, deps: DoorDeps): void {
  app.post(
    url,
    {
      config: { permission: 'billing:credit-notes:create' },
      schema: {
        tags,
        summary: 'Give back an invoice, an amount of it, or some of its lines',
        description:
          'With neither amount nor lines: all that is left. All notes together never exceed the invoice; the last one takes ' +
          'exactly what is left, tax included. It lowers the amount due; beyond that, or while a payment is on its way, ' +
          "it goes to the customer's balance.",
        params: IdParams,
        headers: Headers,
        body: NewCreditNote,
        response: { 200: CreditNoteAnswer, 201: CreditNoteAnswer },
      },
    },
    async ({ caller, params, headers, body }, reply) => {
      const input = {
        invoiceId: params.id,
        idempotencyKey: headers['idempotency-key'],
        reason: body.reason,
        amount: body.amount ?? null,
        lines: body.lines?.map(({ line, amount }) => ({ line, amount: amount ?? null })) ?? null,
      }
      const { note, created } = await deps.transact(caller.tenantId, (tx) => issueCreditNote(tx, input, deps))
      return reply.code(created ? 201 : 200).send(answer(note))
    },
  )
  app.get(
    url,
    {
      config: { permission: 'billing:invoices:read' },
      schema: {
        tags,
        summary: 'List the credit notes on an invoice',
        params: IdParams,
        response: {
          200: Type.Object({ credit_notes: Type.Array(CreditNoteAnswer) }, { examples: [{ credit_notes: [example] }] }),
        },
      },
    },
    async ({ caller, params }) => {
      const notes = await deps.transact(caller.tenantId, (tx) => readCreditNotes(tx, params.id))
      return { credit_notes: notes.map(answer) }
    },
  )
}

function answer(note: CreditNote): Static<typeof CreditNoteAnswer> {
  const money = (minor: bigint) => formatMoney(minor, note.currency)
  return {
    id: note.id,
    number: note.number,
    invoice_id: note.invoiceId,
    customer_id: note.customerId,
    currency: note.currency,
    reason: note.reason,
    lines: note.lines.map(({ lineIndex, netMinor, taxMinor }) => ({
      line: lineIndex,
      subtotal: money(netMinor),
      tax: money(taxMinor),
    })),
    subtotal: money(note.subtotalMinor),
    tax: money(note.taxMinor),
    total: money(note.totalMinor),
    off_amount_due: money(note.settledMinor),
    to_balance: money(note.balanceMinor),
    issued_at: instantText(note.issuedAtMs),
  }
}
