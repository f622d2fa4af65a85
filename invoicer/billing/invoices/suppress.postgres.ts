import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray, timeArray } from '../../array-text.ts'
import { payerIdOf } from '../due.ts'
import type { NewInvoice } from './rated-invoice.ts'

/** Nothing is billed: not lines that make up for each other, which somebody may ask about. */
export function billsNothing({ draft }: NewInvoice): boolean {
  return draft.totalMinor === 0n && draft.lines.every(({ amountMinor, tax }) => amountMinor === 0n && !tax?.amountMinor)
}

/**
 * Invoices of nothing without numbers, which nobody is shown. Their periods are billed: late usage finds what they came to,
 * and no run bills them again. Before those with numbers.
 */
export async function insertSuppressed(
  tx: TenantTransaction,
  runId: string,
  invoices: readonly NewInvoice[],
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO invoices
       (tenant_id, state, billing_run_id, finalised_at, subtotal_minor, tax_minor, total_minor, amount_due_minor, id,
        subscription_id, customer_id, plan_id, currency, period_start, period_end, legal_entity_id, off_cycle)
     SELECT app_tenant(), 'suppressed', $1, $2, 0, 0, 0, 0, n.*
     FROM unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::timestamptz[], $9::timestamptz[],
       $10::uuid[], $11::boolean[]) AS n`,
    [
      runId,
      new Date(atMs),
      idArray(invoices.map((invoice) => invoice.id)),
      idArray(invoices.map((invoice) => invoice.subscription.id)),
      idArray(invoices.map((invoice) => payerIdOf(invoice.subscription))),
      idArray(invoices.map((invoice) => invoice.plan.id)),
      textArray(invoices.map((invoice) => invoice.plan.currency)),
      timeArray(invoices.map((invoice) => invoice.period.startMs)),
      timeArray(invoices.map((invoice) => invoice.period.endMs)),
      idArray(invoices.map((invoice) => invoice.draft.legalEntityId)),
      plainArray(invoices.map((invoice) => (invoice.offCycle ? 't' : 'f'))),
    ],
  )
}
