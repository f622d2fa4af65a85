import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray } from '../../array-text.ts'
import type { Carried, Taken } from './settle-due.ts'

/** What waits for the next invoices of customers; nobody else takes it until the end of `tx`. Locked in one order. */
export async function lockCarried(tx: TenantTransaction, customerIds: readonly string[]): Promise<Carried[]> {
  const { rows } = await tx.query<{
    from_invoice_id: string
    customer_id: string
    legal_entity_id: string | null
    currency: string
    amount_minor: string
  }>(
    `SELECT from_invoice_id, customer_id, legal_entity_id, currency, amount_minor FROM carried_amounts
     WHERE customer_id = ANY ($1::uuid[]) AND to_invoice_id IS NULL ORDER BY from_invoice_id FOR NO KEY UPDATE`,
    [idArray(customerIds)],
  )
  return rows.map((row) => ({
    fromInvoiceId: row.from_invoice_id,
    customerId: row.customer_id,
    legalEntityId: row.legal_entity_id,
    currency: row.currency,
    amountMinor: BigInt(row.amount_minor),
  }))
}

export async function insertCarried(tx: TenantTransaction, carried: readonly Carried[], atMs: number): Promise<void> {
  await tx.query(
    `INSERT INTO carried_amounts (tenant_id, at, from_invoice_id, customer_id, legal_entity_id, currency, amount_minor)
     SELECT app_tenant(), $1, n.* FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[]) AS n`,
    [
      new Date(atMs),
      idArray(carried.map(({ fromInvoiceId }) => fromInvoiceId)),
      idArray(carried.map(({ customerId }) => customerId)),
      idArray(carried.map(({ legalEntityId }) => legalEntityId)),
      textArray(carried.map(({ currency }) => currency)),
      plainArray(carried.map(({ amountMinor }) => amountMinor)),
    ],
  )
}

/** Behind `lockCarried`, or in the transaction that carries it forward. */
export async function markCarried(tx: TenantTransaction, taken: readonly Taken[]): Promise<void> {
  await tx.query(
    `UPDATE carried_amounts c SET to_invoice_id = n.to_id FROM unnest($1::uuid[], $2::uuid[]) AS n (from_id, to_id)
     WHERE c.tenant_id = app_tenant() AND c.from_invoice_id = n.from_id`,
    [idArray(taken.map(({ fromInvoiceId }) => fromInvoiceId)), idArray(taken.map(({ toInvoiceId }) => toInvoiceId))],
  )
}

/** What was carried forward to an invoice that is void waits again. */
export async function releaseCarried(tx: TenantTransaction, invoiceId: string): Promise<void> {
  await tx.query('UPDATE carried_amounts SET to_invoice_id = NULL WHERE to_invoice_id = $1', [invoiceId])
}

/** What waits for a customer's next invoice in each currency. */
export async function listCarried(
  tx: TenantTransaction,
  customerId: string,
): Promise<{ currency: string; amountMinor: bigint }[]> {
  const { rows } = await tx.query<{ currency: string; amount_minor: string }>(
    `SELECT currency, sum(amount_minor) AS amount_minor FROM carried_amounts
     WHERE customer_id = $1 AND to_invoice_id IS NULL GROUP BY currency ORDER BY currency`,
    [customerId],
  )
  return rows.map((row) => ({ currency: row.currency, amountMinor: BigInt(row.amount_minor) }))
}
