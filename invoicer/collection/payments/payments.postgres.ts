import type { Pool } from 'pg'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray } from '../../array-text.ts'
import { statesBefore } from '../../billing/invoices/lifecycle.ts'
import type { ChargeResult, Gateway } from './gateway.ts'

/** An issued invoice that nobody has paid and no gateway has declined. */
export type UnpaidInvoice = {
  id: string
  customerId: string
  /** Null: it belongs to none. */
  subscriptionId: string | null
  customerKey: string
  totalMinor: bigint
  creditMinor: bigint
  /** What is still to be paid: credit notes may have taken something off what was due. */
  amountDueMinor: bigint
  currency: string
}
/** An attempt that may still succeed: to be sent, with the same key each time. */
export type LiveAttempt = {
  id: string
  invoiceId: string
  idempotencyKey: string
  amountMinor: bigint
  currency: string
}
export type SettledAttempt = LiveAttempt & { result: ChargeResult }

type UnpaidRow = {
  id: string
  customer_id: string
  subscription_id: string | null
  external_key: string
  total_minor: string
  credit_minor: string
  amount_due_minor: string
  currency: string
}
const UNPAID = `
  SELECT i.id, i.customer_id, i.subscription_id, c.external_key, i.total_minor, i.credit_minor,
    i.amount_due_minor - i.settled_minor AS amount_due_minor, i.currency
  FROM invoices i JOIN customers c ON c.tenant_id = i.tenant_id AND c.id = i.customer_id
  WHERE i.state = 'finalised' AND NOT EXISTS (
    SELECT FROM payments p WHERE p.tenant_id = i.tenant_id AND p.invoice_id = i.id AND p.state = 'declined')`

export async function listUnpaid(
  tx: TenantTransaction,
  runId: string,
  page: { after: string | null; limit: number },
): Promise<UnpaidInvoice[]> {
  const { rows } = await tx.query<UnpaidRow>(
    `${UNPAID} AND i.billing_run_id = $1 AND ($2::uuid IS NULL OR i.id > $2) ORDER BY i.id LIMIT $3`,
    [runId, page.after, page.limit],
  )
  return rows.map(unpaidFromRow)
}

/** One that no run issued. */
export async function findUnpaid(tx: TenantTransaction, invoiceId: string): Promise<UnpaidInvoice | undefined> {
  const { rows } = await tx.query<UnpaidRow>(`${UNPAID} AND i.id = $1 AND i.billing_run_id IS NULL`, [invoiceId])
  return rows.map(unpaidFromRow)[0]
}

/** Those that no run issued, up to a moment. */
export async function listUnpaidBeside(
  tx: TenantTransaction,
  issuedUntilMs: number,
  page: { after: string | null; limit: number },
): Promise<UnpaidInvoice[]> {
  const { rows } = await tx.query<UnpaidRow>(
    `${UNPAID} AND i.billing_run_id IS NULL AND i.finalised_at <= $1 AND ($2::uuid IS NULL OR i.id > $2)
     ORDER BY i.id LIMIT $3`,
    [new Date(issuedUntilMs), page.after, page.limit],
  )
  return rows.map(unpaidFromRow)
}

export async function tenantsWithUnpaidBeside(pool: Pool, issuedUntilMs: number): Promise<TenantId[]> {
  const { rows } = await pool.query<{ tenant_id: TenantId }>('SELECT tenant_id FROM tenants_with_unpaid_beside($1)', [
    new Date(issuedUntilMs),
  ])
  return rows.map((row) => row.tenant_id)
}

function unpaidFromRow(row: UnpaidRow): UnpaidInvoice {
  return {
    id: row.id,
    customerId: row.customer_id,
    subscriptionId: row.subscription_id,
    customerKey: row.external_key,
    totalMinor: BigInt(row.total_minor),
    creditMinor: BigInt(row.credit_minor),
    amountDueMinor: BigInt(row.amount_due_minor),
    currency: row.currency,
  }
}

/**
 * Locks those of the invoices that are unpaid still, and answers what is to be paid of each by now. Whoever writes
 * payments or credit notes of an invoice holds this lock, and takes it in the order of ids: an invoice that another runner
 * settles meanwhile is seen as paid, and gets no new attempt.
 */
export async function lockUnpaid(tx: TenantTransaction, invoiceIds: readonly string[]): Promise<Map<string, bigint>> {
  const { rows } = await tx.query<{ id: string; due_minor: string }>(
    `SELECT id, amount_due_minor - settled_minor AS due_minor FROM invoices 
     WHERE id = ANY ($1::uuid[]) AND state = 'finalised' ORDER BY id FOR NO KEY UPDATE`,
    [idArray(invoiceIds)],
  )
  return new Map(rows.map((row) => [row.id, BigInt(row.due_minor)]))
}

/** The locked ones of the invoices, with what is to be paid of them by now. */
export function withDue(invoices: readonly UnpaidInvoice[], locked: ReadonlyMap<string, bigint>): UnpaidInvoice[] {
  return invoices.flatMap((invoice) => {
    const amountDueMinor = locked.get(invoice.id)
    return amountDueMinor === undefined ? [] : [{ ...invoice, amountDueMinor }]
  })
}

/** Those of the attempts whose invoice had none that may still succeed. */
export async function insertAttempts(
  tx: TenantTransaction,
  gateway: Gateway['name'],
  attempts: readonly LiveAttempt[],
  atMs: number,
): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `INSERT INTO payments
       (tenant_id, id, invoice_id, gateway, idempotency_key, amount_minor, currency, state, created_at, is_sent)
     SELECT app_tenant(), n.id, n.invoice_id, $1, n.idempotency_key, n.amount, n.currency, 'created', $7, false
     FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::bigint[], $6::text[])
       AS n (id, invoice_id, idempotency_key, amount, currency)
     ON CONFLICT (tenant_id, invoice_id) WHERE state IN ('created', 'unknown') DO NOTHING
     RETURNING id`,
    [
      gateway,
      idArray(attempts.map((attempt) => attempt.id)),
      idArray(attempts.map((attempt) => attempt.invoiceId)),
      textArray(attempts.map((attempt) => attempt.idempotencyKey)),
      plainArray(attempts.map((attempt) => attempt.amountMinor)),
      textArray(attempts.map((attempt) => attempt.currency)),
      new Date(atMs),
    ],
  )
  return new Set(rows.map((row) => row.id))
}

export async function listLiveAttempts(
  tx: TenantTransaction,
  gateway: Gateway['name'],
  invoiceIds: readonly string[],
): Promise<LiveAttempt[]> {
  const { rows } = await tx.query<{
    id: string
    invoice_id: string
    idempotency_key: string
    amount_minor: string
    currency: string
  }>(
    `SELECT id, invoice_id, idempotency_key, amount_minor, currency FROM payments
     WHERE gateway = $1 AND invoice_id = ANY ($2::uuid[]) AND state IN ('created', 'unknown') ORDER BY invoice_id`,
    [gateway, idArray(invoiceIds)],
  )
  return rows.map((row) => ({
    id: row.id,
    invoiceId: row.invoice_id,
    idempotencyKey: row.idempotency_key,
    amountMinor: BigInt(row.amount_minor),
    currency: row.currency,
  }))
}

/**
 * Notes that attempts are about to be sent; answers those that may still succeed. Behind the lock of their invoices: what
 * was withdrawn or settled meanwhile is not to be sent.
 */
export async function markSent(tx: TenantTransaction, attemptIds: readonly string[]): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `UPDATE payments SET is_sent = true WHERE id = ANY ($1::uuid[]) AND state IN ('created', 'unknown') RETURNING id`,
    [idArray(attemptIds)],
  )
  return new Set(rows.map((row) => row.id))
}

/** Whether the run is cancelled, and nobody asked to charge what it issued; nobody can ask until the transaction ends. */
export async function holdUncollected(tx: TenantTransaction, runId: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    `SELECT FROM billing_runs WHERE id = $1 AND state = 'cancelled' AND collect_asked_at IS NULL FOR KEY SHARE`,
    [runId],
  )
  return rowCount === 1
}

export type Withdrawn = {
  id: string
  invoiceId: string
  customerId: string
  subscriptionId: string | null
  gateway: string
}

/** Ends those attempts of a run's invoices that no gateway has heard of. In the order in which all lock invoices. */
export async function withdrawUnsent(tx: TenantTransaction, runId: string): Promise<Withdrawn[]> {
  await tx.query(
    `SELECT FROM invoices i WHERE i.billing_run_id = $1 AND EXISTS (
       SELECT FROM payments p WHERE p.tenant_id = i.tenant_id AND p.invoice_id = i.id AND p.state = 'created' AND NOT p.is_sent)
     ORDER BY i.id FOR NO KEY UPDATE OF i`,
    [runId],
  )
  const { rows } = await tx.query<{
    id: string
    invoice_id: string
    customer_id: string
    subscription_id: string | null
    gateway: string
  }>(
    `UPDATE payments p SET state = 'withdrawn' FROM invoices i
     WHERE i.tenant_id = p.tenant_id AND i.id = p.invoice_id AND i.billing_run_id = $1
       AND p.state = 'created' AND NOT p.is_sent
     RETURNING p.id, p.invoice_id, i.customer_id, i.subscription_id, p.gateway`,
    [runId],
  )
  return rows.map((row) => ({
    id: row.id,
    invoiceId: row.invoice_id,
    customerId: row.customer_id,
    subscriptionId: row.subscription_id,
    gateway: row.gateway,
  }))
}

/** Writes what the gateway answered; the ids of those attempts that had no answer yet. */
export async function settleAttempts(
  tx: TenantTransaction,
  attempts: readonly SettledAttempt[],
  atMs: number,
): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `UPDATE payments p SET state = n.outcome, gateway_reference = n.reference, reason = n.reason,
       settled_at = CASE WHEN n.outcome <> 'unknown' THEN $5::timestamptz END
     FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS n (id, outcome, reference, reason)
     WHERE p.tenant_id = app_tenant() AND p.id = n.id AND p.state IN ('created', 'unknown')
       AND p.state IS DISTINCT FROM n.outcome
     RETURNING p.id`,
    [
      idArray(attempts.map((attempt) => attempt.id)),
      textArray(attempts.map((attempt) => attempt.result.outcome)),
      textArray(attempts.map(({ result }) => (result.outcome === 'succeeded' ? result.reference : null))),
      textArray(attempts.map(({ result }) => (result.outcome === 'succeeded' ? null : result.reason))),
      new Date(atMs),
    ],
  )
  return new Set(rows.map((row) => row.id))
}

export async function markPaid(tx: TenantTransaction, invoiceIds: readonly string[], atMs: number): Promise<void> {
  await tx.query(
    `UPDATE invoices SET state = 'paid', paid_at = $2 WHERE id = ANY ($1::uuid[]) AND state = ANY ($3::text[])`,
    [idArray(invoiceIds), new Date(atMs), statesBefore('pay')],
  )
}
