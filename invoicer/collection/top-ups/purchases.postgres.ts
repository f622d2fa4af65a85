import type { Pool } from 'pg'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, textArray, timeArray } from '../../array-text.ts'
import type { Page } from '../../transaction.ts'
import type { CreditScope } from '../credits/terms.ts'
import type { Purchase } from './top-up.ts'

type PurchaseRow = {
  id: string
  customer_id: string
  currency: string
  amount_minor: string
  priority: number
  expires_after_days: number | null
  scope: CreditScope | null
  available_minor: string
  gateway: string
  state: Purchase['state']
  gateway_reference: string | null
  reason: string | null
  created_at: Date
  settled_at: Date | null
  external_key: string | null
  invoice_id: string | null
}

const PURCHASE = `
  id, customer_id, currency, amount_minor, priority, expires_after_days, scope, available_minor, gateway, state,
  gateway_reference, reason, created_at, settled_at, external_key, invoice_id`

/** False where one of the customer is open. */
export async function insertPurchase(tx: TenantTransaction, purchase: Purchase): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO credit_purchases
       (tenant_id, id, customer_id, currency, amount_minor, priority, expires_after_days, scope, available_minor, gateway,
        state, created_at, next_attempt_at, external_key)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, 'created', $10, $10, $11)
     ON CONFLICT (tenant_id, customer_id) WHERE state = 'created' DO NOTHING`,
    [
      ...[purchase.id, purchase.customerId, purchase.currency, purchase.amountMinor, purchase.priority],
      ...[purchase.expiresAfterDays, purchase.scope === null ? null : JSON.stringify(purchase.scope)],
      ...[purchase.availableMinor, purchase.gateway, new Date(purchase.createdAtMs), purchase.externalKey],
    ],
  )
  return rowCount === 1
}

/** How many of each customer were opened by its rule from its time on and not declined. */
export async function countPurchases(
  tx: TenantTransaction,
  since: readonly { customerId: string; fromMs: number }[],
): Promise<Map<string, number>> {
  const { rows } = await tx.query<{ customer_id: string; count: number }>(
    `SELECT n.customer_id, count(*)::integer AS count
     FROM unnest($1::uuid[], $2::timestamptz[]) AS n (customer_id, since)
     JOIN credit_purchases p ON p.customer_id = n.customer_id AND p.created_at >= n.since AND p.state <> 'declined'
       AND p.external_key IS NULL
     GROUP BY 1`,
    [idArray(since.map(({ customerId }) => customerId)), timeArray(since.map(({ fromMs }) => fromMs))],
  )
  return new Map(rows.map((row) => [row.customer_id, row.count]))
}

/** Takes those that are due and that no other process takes: they are due again at `againMs`, by the same key. */
export async function claimPurchases(
  tx: TenantTransaction,
  gateway: string,
  atMs: number,
  againMs: number,
  most: number,
): Promise<Purchase[]> {
  const { rows } = await tx.query<PurchaseRow>(
    `WITH due AS MATERIALIZED (
       SELECT id AS due_id FROM credit_purchases WHERE state = 'created' AND gateway = $1 AND next_attempt_at <= $2
       ORDER BY next_attempt_at, id LIMIT $4 FOR UPDATE SKIP LOCKED
     )
     UPDATE credit_purchases p SET next_attempt_at = $3 FROM due
     WHERE p.tenant_id = app_tenant() AND p.id = due.due_id RETURNING ${PURCHASE}`,
    [gateway, new Date(atMs), new Date(againMs), most],
  )
  return rows.map(purchaseFromRow)
}

/** Writes what the gateway answered; the ids of those that had no answer yet. */
export async function settlePurchases(
  tx: TenantTransaction,
  settled: readonly Pick<Purchase, 'id' | 'state' | 'reference' | 'reason'>[],
  atMs: number,
): Promise<Set<string>> {
  const { rows } = await tx.query<{ id: string }>(
    `UPDATE credit_purchases p
     SET state = n.state, gateway_reference = n.reference, reason = n.reason, settled_at = $5, next_attempt_at = NULL
     FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS n (id, state, reference, reason)
     WHERE p.tenant_id = app_tenant() AND p.id = n.id AND p.state = 'created' RETURNING p.id`,
    [
      idArray(settled.map(({ id }) => id)),
      textArray(settled.map(({ state }) => state)),
      textArray(settled.map(({ reference }) => reference)),
      textArray(settled.map(({ reason }) => reason)),
      new Date(atMs),
    ],
  )
  return new Set(rows.map(({ id }) => id))
}

/** Behind `lockCreditOf`. */
export async function findPurchaseByKey(
  tx: TenantTransaction,
  customerId: string,
  externalKey: string,
): Promise<Purchase | undefined> {
  const { rows } = await tx.query<PurchaseRow>(
    `SELECT ${PURCHASE} FROM credit_purchases WHERE customer_id = $1 AND external_key = $2`,
    [customerId, externalKey],
  )
  return rows.map(purchaseFromRow)[0]
}

/** What paid purchases are invoiced with; before the invoices, whose foreign key is checked at the commit. */
export async function markPurchasesInvoiced(
  tx: TenantTransaction,
  places: readonly { purchaseId: string; invoiceId: string }[],
): Promise<void> {
  await tx.query(
    `UPDATE credit_purchases p SET invoice_id = n.invoice_id
     FROM unnest($1::uuid[], $2::uuid[]) AS n (id, invoice_id) WHERE p.tenant_id = app_tenant() AND p.id = n.id`,
    [idArray(places.map(({ purchaseId }) => purchaseId)), idArray(places.map(({ invoiceId }) => invoiceId))],
  )
}

/**
 * The credit that an invoice sold, and what of it can pay at a moment; undefined where it sold none. Nobody else uses it
 * until the end of `tx`.
 */
export async function lockBought(
  tx: TenantTransaction,
  invoiceId: string,
  atMs: number,
): Promise<{ grantId: string; remainingMinor: bigint } | undefined> {
  const { rows } = await tx.query<{ id: string; remaining_minor: string }>(
    `SELECT g.id, CASE WHEN g.expires_at <= $2 THEN 0 ELSE g.remaining_minor END AS remaining_minor
     FROM credit_purchases p JOIN credit_grants g ON g.tenant_id = p.tenant_id AND g.purchase_id = p.id
     WHERE p.invoice_id = $1 FOR NO KEY UPDATE OF g`,
    [invoiceId, new Date(atMs)],
  )
  return rows.map((row) => ({ grantId: row.id, remainingMinor: BigInt(row.remaining_minor) }))[0]
}

/** Behind `lockBought`; before the credit note, whose foreign key is checked at the commit. */
export async function insertRefund(
  tx: TenantTransaction,
  {
    id,
    grantId,
    amountMinor,
    creditNoteId,
  }: { id: string; grantId: string; amountMinor: bigint; creditNoteId: string },
  atMs: number,
): Promise<void> {
  await tx.query(
    `INSERT INTO credit_uses (tenant_id, kind, id, grant_id, amount_minor, credit_note_id, at)
     VALUES (app_tenant(), 'refunded', $1, $2, $3, $4, $5)`,
    [id, grantId, amountMinor, creditNoteId, new Date(atMs)],
  )
}

export async function listPurchases(tx: TenantTransaction, customerId: string, page: Page): Promise<Purchase[]> {
  const { rows } = await tx.query<PurchaseRow>(
    `SELECT ${PURCHASE} FROM credit_purchases WHERE customer_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3`,
    [customerId, page.after, page.limit],
  )
  return rows.map(purchaseFromRow)
}

export async function tenantsWithOpenPurchases(pool: Pool, atMs: number): Promise<TenantId[]> {
  const { rows } = await pool.query<{ tenant_id: TenantId }>('SELECT tenant_id FROM tenants_with_open_purchases($1)', [
    new Date(atMs),
  ])
  return rows.map((row) => row.tenant_id)
}

function purchaseFromRow(row: PurchaseRow): Purchase {
  return {
    id: row.id,
    customerId: row.customer_id,
    currency: row.currency,
    amountMinor: BigInt(row.amount_minor),
    priority: row.priority,
    expiresAfterDays: row.expires_after_days,
    scope: row.scope,
    availableMinor: BigInt(row.available_minor),
    gateway: row.gateway,
    state: row.state,
    reference: row.gateway_reference,
    reason: row.reason,
    createdAtMs: row.created_at.getTime(),
    settledAtMs: row.settled_at?.getTime() ?? null,
    externalKey: row.external_key,
    invoiceId: row.invoice_id,
  }
}
