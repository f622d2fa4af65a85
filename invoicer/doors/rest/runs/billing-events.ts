import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { type BillingEvent, listBillingEvents } from '../../../outbox/history.postgres.ts'
import {
  type DoorDeps,
  Id,
  Instant,
  instantText,
  Key,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from '../shapes.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  event: 'invoice.paid',
  at: '2023-12-02T00:00:02.000Z',
  customer_id: '01890a5d-ac96-774b-bcce-b302099a8056',
  subscription_id: '01890a5d-ac96-774b-bcce-b302099a8055',
  invoice_id: '01890a5d-ac96-774b-bcce-b302099a8054',
  billing_run_id: '01890a5d-ac96-774b-bcce-b302099a8053',
  data: { total: '31.84', currency: 'USD' },
}

const EventAnswer = Type.Object(
  {
    id: Id,
    event: Type.String(),
    at: Instant,
    customer_id: Nullable(Id),
    subscription_id: Nullable(Id),
    invoice_id: Nullable(Id),
    billing_run_id: Nullable(Id),
    data: Type.Object({}, { additionalProperties: true }),
  },
  { examples: [example] },
)

/** EPIC-6: everything that happened in billing, oldest first. */
export function billingEventsDoor(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/billing-events',
    {
      config: { permission: 'billing:history:read' },
      schema: {
        tags: ['history'],
        summary: 'List what happened in billing, oldest first',
        querystring: Type.Object(
          {
            customer: Type.Optional(Type.String({ ...Key, description: 'Id or external key.' })),
            invoice: Type.Optional(Id),
            ...pageMembers,
          },
          strict,
        ),
        response: { 200: listOf('events', EventAnswer, example) },
      },
    },
    async (request) => {
      const page = pageOf(request.query)
      const filter = { customer: request.query.customer ?? null, invoice: request.query.invoice ?? null }
      const events = await deps.transact(request.caller.tenantId, (tx) => listBillingEvents(tx, filter, page))
      return { events: events.map(answer), next: nextOf(events, page) }
    },
  )
}

function answer(event: BillingEvent): Static<typeof EventAnswer> {
  return {
    id: event.id,
    event: event.event,
    at: instantText(event.atMs),
    customer_id: event.customerId,
    subscription_id: event.subscriptionId,
    invoice_id: event.invoiceId,
    billing_run_id: event.billingRunId,
    data: event.data,
  }
}
