import { Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import type { AskedChange } from '../../../billing/invoices/changes.postgres.ts'
import { changeInvoice } from '../../../collection/voids/change-invoice.ts'
import { type DoorDeps, IdParams, Key, strict, Text } from '../shapes.ts'
import { InvoiceAnswer, invoiceAnswer } from './invoices.ts'

const NewChange = Type.Object(
  { reason: Text(1_000) },
  { ...strict, examples: [{ reason: 'It was issued to the wrong customer.' }] },
)
const Headers = Type.Object({
  'idempotency-key': Type.String({ ...Key, description: 'The same key again changes nothing.' }),
})

const ROUTES: readonly { change: AskedChange['change']; path: string; summary: string; description: string }[] = [
  {
    change: 'void',
    path: 'void',
    summary: 'Void an invoice that nobody has paid; its number stays',
    description:
      'Its period is not billed. What it took of prepaid credit and balance goes back (what has expired since to the ' +
      'balance), what was carried forward to it and items on it go with the next invoice. Refused once money was paid ' +
      'or is on its way, or credit notes or later corrections refer to it.',
  },
  {
    change: 'reissue',
    path: 'reissue',
    summary: 'Void an invoice, and have the next billing run issue it anew',
    description:
      'Void as above, or void already: the next run bills its period with all that is known by then, under a new ' +
      'number. The new invoice replaces the void one, and names it.',
  },
  {
    change: 'write_off',
    path: 'uncollectible',
    summary: 'Write an invoice off: nobody expects it to be paid any more',
    description: 'It may be settled all the same, by credit notes, and voided.',
  },
]

/** What is done to issued invoices by hand; their amounts never change. */
export function invoiceChangesDoor(app: App, deps: DoorDeps): void {
  for (const { change, path, summary, description } of ROUTES) {
    app.post(
      `/api/v1/invoices/:id/${path}`,
      {
        config: { permission: 'billing:invoices:update' },
        schema: {
          tags: ['invoices'],
          summary,
          description,
          params: IdParams,
          headers: Headers,
          body: NewChange,
          response: { 200: InvoiceAnswer },
        },
      },
      async ({ caller, params, headers, body }) => {
        const of = { invoiceId: params.id, idempotencyKey: headers['idempotency-key'] }
        const input = { ...of, change, reason: body.reason }
        return invoiceAnswer(await deps.transact(caller.tenantId, (tx) => changeInvoice(tx, input, deps)))
      },
    )
  }
}
