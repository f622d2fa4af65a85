import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, textArray } from '../../array-text.ts'
import type { Page } from '../../transaction.ts'
import type { BalanceChange, BalanceEntry, BalanceEntryKind } from './balance.ts'

export type Balance = { customerId: string; currency: string; balanceMinor: bigint }

/** What customers have to their credit; nobody else changes it until the end of `tx`. Locked in one order everywhere. */
export async function lockBalances(tx: TenantTransaction, customerIds: readonly string[]): Promise<Balance[]> {
  const { rows } = await tx.query<{ customer_id: string; currency: string; balance_minor: string }>(
    `SELECT customer_id, currency, balance_minor FROM customer_balances
     WHERE customer_id = ANY ($1::uuid[]) ORDER BY customer_id, currency FOR NO KEY UPDATE`,
    [idArray(customerIds)],
  )
  return rows.map((row) => ({
    customerId: row.customer_id,
    currency: row.currency,
    balanceMinor: BigInt(row.balance_minor),
  }))
}

/** Rows to lock for customers that have none. */
export async function ensureBalances(
  tx: TenantTransaction,
  of: readonly { customerId: string; currency: string }[],
): Promise<void> {
  const rows = new Map(of.map((one) => [`${one.customerId} ${one.currency}`, one]))
  const inOrder = [...rows.keys()].sort().flatMap((key) => rows.get(key) ?? [])
  await tx.query(
    `INSERT INTO customer_balances (tenant_id, customer_id, currency, balance_minor)
     SELECT app_tenant(), n.customer_id, n.currency, 0
     FROM unnest($1::uuid[], $2::text[]) AS n (customer_id, currency)
     ON CONFLICT DO NOTHING`,
    [idArray(inOrder.map((one) => one.customerId)), textArray(inOrder.map((one) => one.currency))],
  )
}

/** Behind `lockBalances`: the entries, each with the balance behind it, and the balances behind the last ones. */
export async function writeEntries(
  tx: TenantTransaction,
  entries: readonly (BalanceChange & { id: string; balanceMinor: bigint })[],
  atMs: number,
): Promise<void> {
  const last = [...new Map(entries.map((one) => [`${one.customerId} ${one.currency}`, one])).values()]
  await tx.query(
    `UPDATE customer_balances b SET balance_minor = n.balance
     FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS n (customer_id, currency, balance)
     WHERE b.tenant_id = app_tenant() AND b.customer_id = n.customer_id AND b.currency = n.currency`,
    [
      idArray(last.map((one) => one.customerId)),
      textArray(last.map((one) => one.currency)),
      plainArray(last.map((one) => one.balanceMinor)),
    ],
  )
  await tx.query(
    `INSERT INTO balance_entries
       (tenant_id, at, id, customer_id, currency, kind, amount_minor, balance_minor, invoice_id, credit_note_id,
        adjustment_id)
     SELECT app_tenant(), $1, n.*
     FROM unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::uuid[], $9::uuid[],
       $10::uuid[]) AS n`,
    [
      new Date(atMs),
      idArray(entries.map((one) => one.id)),
      idArray(entries.map((one) => one.customerId)),
      textArray(entries.map((one) => one.currency)),
      textArray(entries.map((one) => one.kind)),
      plainArray(entries.map((one) => one.amountMinor)),
      plainArray(entries.map((one) => one.balanceMinor)),
      idArray(entries.map((one) => one.invoiceId)),
      idArray(entries.map((one) => one.creditNoteId)),
      idArray(entries.map((one) => one.adjustmentId)),
    ],
  )
}

/** What a customer has in each currency. */
export async function listBalances(tx: TenantTransaction, customerId: string): Promise<Balance[]> {
  const { rows } = await tx.query<{ currency: string; balance_minor: string }>(
    'SELECT currency, balance_minor FROM customer_balances WHERE customer_id = $1 ORDER BY currency',
    [customerId],
  )
  return rows.map((row) => ({ customerId, currency: row.currency, balanceMinor: BigInt(row.balance_minor) }))
}

export async function listEntries(tx: TenantTransaction, customerId: string, page: Page): Promise<BalanceEntry[]> {
  const { rows } = await tx.query<{
    id: string
    currency: string
    kind: BalanceEntryKind
    amount_minor: string
    balance_minor: string
    invoice_id: string | null
    credit_note_id: string | null
    at: Date
  }>(
    `SELECT id, currency, kind, amount_minor, balance_minor, invoice_id, credit_note_id, at FROM balance_entries
     WHERE customer_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3`,
    [customerId, page.after, page.limit],
  )
  return rows.map((row) => ({
    id: row.id,
    currency: row.currency,
    kind: row.kind,
    amountMinor: BigInt(row.amount_minor),
    balanceMinor: BigInt(row.balance_minor),
    invoiceId: row.invoice_id,
    creditNoteId: row.credit_note_id,
    atMs: row.at.getTime(),
  }))
}
