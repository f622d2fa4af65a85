import { Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { issueOneOff, type OneOffDeps } from '../../../billing/beside/issue-one-off.ts'
import { readInvoice } from '../../../billing/invoices/read-invoice.ts'
import { type CollectDeps, collectInvoice } from '../../../collection/payments/collect-payments.ts'
import { Key, strict } from '../shapes.ts'
import { InvoiceAnswer, invoiceAnswer } from './invoices.ts'

const NewInvoice = Type.Object(
  {
    customer: Type.String({ ...Key, description: 'Id or external key.' }),
    items: Type.Optional(
      Type.Array(Key, {
        minItems: 1,
        maxItems: 1_000,
        uniqueItems: true,
        description:
          'Ids or external keys of pending items. Default: those that wait for no certain subscription, the first 1,000.',
      }),
    ),
  },
  { ...strict, examples: [{ customer: 'ann' }] },
)

const Headers = Type.Object({
  'idempotency-key': Type.String({ ...Key, description: 'The same key again is answered with the invoice it made.' }),
})

/** Invoices that somebody asks for, beside all periods. */
export function oneOffInvoicesDoor(app: App, deps: OneOffDeps & CollectDeps): void {
  app.post(
    '/api/v1/invoices',
    {
      config: { permission: 'billing:invoices:update' },
      schema: {
        tags: ['invoices'],
        summary: "Invoice a customer's pending one-time items now",
        description:
          'They are taxed and paid as on any invoice, which has no subscription. The same call again answers the same ' +
          'invoice, and asks the payment gateway for what is still due and was not declined.',
        headers: Headers,
        body: NewInvoice,
        response: { 200: InvoiceAnswer },
      },
    },
    async ({ caller: { tenantId }, headers, body }) => {
      const input = { idempotencyKey: headers['idempotency-key'], customer: body.customer, items: body.items ?? null }
      const id = await issueOneOff(deps, tenantId, input)
      await collectInvoice(deps, tenantId, id)
      return invoiceAnswer(await deps.transact(tenantId, (tx) => readInvoice(tx, id)))
    },
  )
}
