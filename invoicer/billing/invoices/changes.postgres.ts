import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray } from '../../array-text.ts'
import { idOrNull } from '../../transaction.ts'
import type { InvoiceChange, InvoiceState } from './lifecycle.ts'

/** An issued invoice as whoever changes it finds it: locked, and its subscription too, if it has one. */
export type LockedInvoice = {
  id: string
  state: InvoiceState
  customerId: string
  subscriptionId: string | null
  /** The invoice into which it was gathered; null: none, or not yet where it is a part. */
  partOf: string | null
  currency: string
  offCycle: boolean
  periodStartMs: number
  periodEndMs: number
  totalMinor: bigint
  balanceMinor: bigint
  carriedOutMinor: bigint
  creditedMinor: bigint
  amountDueMinor: bigint
  settledMinor: bigint
}

/** What a change by hand was asked for. */
export type AskedChange = { change: Exclude<InvoiceChange, 'pay'>; reason: string }

/**
 * Until the end of `tx` nobody else bills the subscription or its late usage, nor pays, credits or changes the invoice. The
 * subscription comes first, as for whoever issues; undefined where there is no such invoice.
 */
export async function lockInvoice(tx: TenantTransaction, id: string): Promise<LockedInvoice | undefined> {
  if (idOrNull(id) === null) return undefined
  await tx.query(
    `SELECT FROM subscriptions s WHERE s.id IN (
       SELECT i.subscription_id FROM invoices i WHERE i.id = $1
       UNION ALL
       SELECT i.subscription_id FROM invoice_parts q JOIN invoices i ON i.tenant_id = q.tenant_id AND i.id = q.invoice_id
       WHERE q.consolidated_id = $1)
     ORDER BY s.id FOR NO KEY UPDATE`,
    [id],
  )
  const { rows } = await tx.query<{
    id: string
    state: InvoiceState
    customer_id: string
    subscription_id: string | null
    part_of: string | null
    currency: string
    off_cycle: boolean
    period_start: Date
    period_end: Date
    total_minor: string
    balance_minor: string
    carried_out_minor: string
    credited_minor: string
    amount_due_minor: string
    settled_minor: string
  }>(
    `SELECT id, state, customer_id, subscription_id, currency, off_cycle, period_start, period_end, total_minor,
       (SELECT q.consolidated_id FROM invoice_parts q WHERE q.invoice_id = invoices.id) AS part_of,
       balance_minor, carried_out_minor, credited_minor, amount_due_minor, settled_minor
     FROM invoices WHERE id = $1 AND state <> 'draft' FOR NO KEY UPDATE`,
    [id],
  )
  return rows.map((row) => ({
    id: row.id,
    state: row.state,
    customerId: row.customer_id,
    subscriptionId: row.subscription_id,
    partOf: row.part_of,
    currency: row.currency,
    offCycle: row.off_cycle,
    periodStartMs: row.period_start.getTime(),
    periodEndMs: row.period_end.getTime(),
    totalMinor: BigInt(row.total_minor),
    balanceMinor: BigInt(row.balance_minor),
    carriedOutMinor: BigInt(row.carried_out_minor),
    creditedMinor: BigInt(row.credited_minor),
    amountDueMinor: BigInt(row.amount_due_minor),
    settledMinor: BigInt(row.settled_minor),
  }))[0]
}

/** Behind `lockInvoice`: what an idempotency key of the invoice stands for. */
export async function findInvoiceChange(
  tx: TenantTransaction,
  invoiceId: string,
  idempotencyKey: string,
): Promise<AskedChange | undefined> {
  const { rows } = await tx.query<AskedChange>(
    'SELECT change, reason FROM invoice_changes WHERE invoice_id = $1 AND idempotency_key = $2',
    [invoiceId, idempotencyKey],
  )
  return rows[0]
}

export async function insertInvoiceChange(
  tx: TenantTransaction,
  invoiceId: string,
  { change, reason, idempotencyKey }: AskedChange & { idempotencyKey: string },
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO invoice_changes (tenant_id, invoice_id, idempotency_key, change, reason, at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5)`,
    [invoiceId, idempotencyKey, change, reason, new Date(atMs)],
  )
}

/** Whether usage that came late changed what the invoice's charges were brought to. */
export async function hasAdjustments(tx: TenantTransaction, invoiceId: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    `SELECT FROM billed_usage b
     JOIN usage_adjustments a ON a.tenant_id = b.tenant_id AND a.subscription_id = b.subscription_id
       AND a.charge_key = b.charge_key AND a.period_start = b.period_start
     WHERE b.invoice_id = $1 LIMIT 1`,
    [invoiceId],
  )
  return rowCount === 1
}

/** Behind `lockInvoice`, of an invoice and its parts: their usage counts as billed no more, and what waited waits again. */
export async function markVoid(tx: TenantTransaction, invoiceIds: readonly string[], atMs: number): Promise<void> {
  const ids = idArray(invoiceIds)
  await tx.query('UPDATE billed_usage SET void_invoice_id = invoice_id WHERE invoice_id = ANY ($1::uuid[])', [ids])
  await tx.query('UPDATE invoice_items SET invoice_id = NULL, line_index = NULL WHERE invoice_id = ANY ($1::uuid[])', [
    ids,
  ])
  await tx.query("UPDATE invoices SET state = 'void', voided_at = $2, paid_at = NULL WHERE id = ANY ($1::uuid[])", [
    ids,
    new Date(atMs),
  ])
}

export async function markUncollectible(tx: TenantTransaction, invoiceId: string): Promise<void> {
  await tx.query("UPDATE invoices SET state = 'uncollectible' WHERE id = $1", [invoiceId])
}
