import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import { idArray, textArray } from '../array-text.ts'
import { idOrNull, type Page } from '../transaction.ts'

/** EPIC-6: everything that happens in billing. A name is never changed. */
export type BillingEventName =
  | 'customer.created'
  | 'customer.updated'
  | 'legal_entity.created'
  | 'legal_entity.updated'
  | 'tax_rate.created'
  | 'plan.created'
  | 'plan.version_created'
  | 'plan.listed'
  | 'product.created'
  | 'product.updated'
  | 'coupon.created'
  | 'coupon.archived'
  | 'discount.given'
  | 'discount.ended'
  | 'subscription.created'
  | 'subscription.updated'
  | 'subscription.parked'
  | 'budget.set'
  | 'budget.removed'
  | 'spend.threshold_reached'
  | 'credit.granted'
  | 'credit.drawn'
  | 'credit.expired'
  | 'credit.rolled_over'
  | 'credit.schedule_created'
  | 'credit.schedule_stopped'
  | 'credit.top_up_set'
  | 'credit.top_up_removed'
  | 'credit.top_up_opened'
  | 'credit.top_up_paid'
  | 'credit.top_up_declined'
  | 'credit.top_up_suspended'
  | 'credit.returned'
  | 'credit.refunded'
  | 'credit.thresholds_set'
  | 'credit.threshold_reached'
  | 'usage.adjusted'
  | 'invoice_item.created'
  | 'invoice_item.deleted'
  | 'credit_note.issued'
  | 'balance.changed'
  | 'billing_run.opened'
  | 'billing_run.failed'
  | 'billing_run.completed'
  | 'billing_run.awaiting_approval'
  | 'billing_run.approved'
  | 'billing_run.cancelled'
  | 'billing_run.collected'
  | 'billing_run.settings_changed'
  | 'invoice.finalised'
  | 'invoice.suppressed'
  | 'invoice.paid'
  | 'invoice.voided'
  | 'invoice.reissue_requested'
  | 'invoice.uncollectible'
  | 'invoice_settings.changed'
  | 'invoice_texts.changed'
  | 'payment.created'
  | 'payment.succeeded'
  | 'payment.declined'
  | 'payment.unknown'
  | 'payment.withdrawn'

/** What an event is about; what does not apply is left out, or null. */
export type Subjects = {
  customerId?: string
  subscriptionId?: string | null
  invoiceId?: string
  billingRunId?: string | null
}
/** `isTold` false: nobody but who asks for the history is told, whatever the event. */
export type NewBillingEvent = Subjects & {
  id: string
  event: BillingEventName
  data: Record<string, unknown>
  isTold?: boolean
}

export type BillingEvent = {
  id: string
  event: string
  atMs: number
  customerId: string | null
  subscriptionId: string | null
  invoiceId: string | null
  billingRunId: string | null
  data: Record<string, unknown>
}

/** Others are told of these: they are in the outbox as well. */
const PUBLISHED: ReadonlySet<BillingEventName> = new Set([
  'subscription.created',
  'subscription.updated',
  'invoice.finalised',
  'invoice.paid',
  'invoice.voided',
  'invoice.uncollectible',
])

/** In the transaction that made it happen; what is published goes into the outbox with it. */
export async function insertBillingEvents(
  tx: TenantTransaction,
  events: readonly NewBillingEvent[],
  atMs: number,
): Promise<void> {
  if (events.length === 0) return
  await tx.query(
    `INSERT INTO billing_events
       (tenant_id, id, event, at, customer_id, subscription_id, invoice_id, billing_run_id, data)
     SELECT app_tenant(), e.id, e.event, $1, e.customer_id, e.subscription_id, e.invoice_id, e.run_id, e.data
     FROM ROWS FROM (
       unnest($2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[]), jsonb_array_elements($8::jsonb)
     ) AS e (id, event, customer_id, subscription_id, invoice_id, run_id, data)`,
    [
      new Date(atMs),
      idArray(events.map((e) => e.id)),
      textArray(events.map((e) => e.event)),
      idArray(events.map((e) => e.customerId)),
      idArray(events.map((e) => e.subscriptionId)),
      idArray(events.map((e) => e.invoiceId)),
      idArray(events.map((e) => e.billingRunId)),
      JSON.stringify(events.map((e) => e.data)),
    ],
  )
  const published = events.filter(({ event, isTold }) => PUBLISHED.has(event) && isTold !== false)
  if (published.length > 0) await insertOutbox(tx, published)
}

/** A row waits until the event is delivered. */
async function insertOutbox(tx: TenantTransaction, events: readonly { id: string }[]): Promise<void> {
  await tx.query('INSERT INTO outbox (tenant_id, event_id) SELECT app_tenant(), unnest($1::uuid[])', [
    idArray(events.map(({ id }) => id)),
  ])
}

type EventRow = {
  id: string
  event: string
  at: Date
  customer_id: string | null
  subscription_id: string | null
  invoice_id: string | null
  billing_run_id: string | null
  data: Record<string, unknown>
}

/** Oldest first. A filter that cannot be an id finds nothing. */
export async function listBillingEvents(
  tx: TenantTransaction,
  filter: { invoice: string | null; customer: string | null },
  page: Page,
): Promise<BillingEvent[]> {
  const { rows } = await tx.query<EventRow>(
    `SELECT e.id, e.event, e.at, e.customer_id, e.subscription_id, e.invoice_id, e.billing_run_id, e.data
     FROM billing_events e
     WHERE ($1::text IS NULL OR e.invoice_id = $2::uuid)
       AND ($3::text IS NULL OR e.customer_id = (
         SELECT c.id FROM customers c WHERE c.id = $4::uuid OR c.external_key = $3
         ORDER BY c.id = $4::uuid DESC NULLS LAST LIMIT 1))
       AND ($5::uuid IS NULL OR e.id > $5)
     ORDER BY e.id LIMIT $6`,
    [
      filter.invoice,
      idOrNull(filter.invoice ?? ''),
      filter.customer,
      idOrNull(filter.customer ?? ''),
      page.after,
      page.limit,
    ],
  )
  return rows.map((row) => ({
    id: row.id,
    event: row.event,
    atMs: row.at.getTime(),
    customerId: row.customer_id,
    subscriptionId: row.subscription_id,
    invoiceId: row.invoice_id,
    billingRunId: row.billing_run_id,
    data: row.data,
  }))
}
