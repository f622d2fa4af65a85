import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray } from '../../array-text.ts'

/** What an invoice drew on a grant, and whether that has expired since. */
export type Drawn = { grantId: string; amountMinor: bigint; isExpired: boolean }

/** Its payment attempts: those that may still succeed, and those that did. Behind the lock of the invoice. */
export async function readAttempts(
  tx: TenantTransaction,
  invoiceId: string,
): Promise<{ isBeingPaid: boolean; wasPaid: boolean }> {
  const { rows } = await tx.query<{ is_being_paid: boolean; was_paid: boolean }>(
    `SELECT coalesce(bool_or(state IN ('created', 'unknown')), false) AS is_being_paid,
       coalesce(bool_or(state = 'succeeded'), false) AS was_paid
     FROM payments WHERE invoice_id = $1`,
    [invoiceId],
  )
  return { isBeingPaid: rows[0]?.is_being_paid === true, wasPaid: rows[0]?.was_paid === true }
}

/** Until the end of `tx` nobody else uses the grants that an invoice drew on. In the order in which all lock them. */
export async function lockDrawn(tx: TenantTransaction, invoiceId: string): Promise<void> {
  await tx.query(
    `SELECT FROM credit_uses u JOIN credit_grants g ON g.tenant_id = u.tenant_id AND g.id = u.grant_id
     WHERE u.invoice_id = $1 AND u.kind = 'drawn'
     ORDER BY g.customer_id, g.priority, g.expires_at NULLS LAST, g.created_at, g.id FOR NO KEY UPDATE OF g`,
    [invoiceId],
  )
}

/**
 * Behind `lockDrawn`, in a statement of its own, which sees what those did who held the locks before: a grant that was taken
 * off or rolled over has expired, whatever the clock of this process says.
 */
export async function listDrawn(tx: TenantTransaction, invoiceId: string, atMs: number): Promise<Drawn[]> {
  const { rows } = await tx.query<{ grant_id: string; amount_minor: string; is_expired: boolean }>(
    `SELECT u.grant_id, u.amount_minor, coalesce(g.expires_at <= $2, false)
       OR EXISTS (SELECT FROM credit_grants n WHERE n.tenant_id = g.tenant_id AND n.rolled_from = g.id)
       OR EXISTS (SELECT FROM credit_uses e WHERE e.tenant_id = g.tenant_id AND e.grant_id = g.id
                  AND e.kind IN ('expired', 'rolled')) AS is_expired
     FROM credit_uses u JOIN credit_grants g ON g.tenant_id = u.tenant_id AND g.id = u.grant_id
     WHERE u.invoice_id = $1 AND u.kind = 'drawn' ORDER BY g.id`,
    [invoiceId, new Date(atMs)],
  )
  return rows.map((row) => ({
    grantId: row.grant_id,
    amountMinor: BigInt(row.amount_minor),
    isExpired: row.is_expired,
  }))
}

/** Behind `lockDrawn`: what was drawn is left again, and stands in the ledger below 0. */
export async function returnDrawn(
  tx: TenantTransaction,
  invoiceId: string,
  returned: readonly { id: string; grantId: string; amountMinor: bigint }[],
  atMs: number,
): Promise<void> {
  const ids = idArray(returned.map(({ grantId }) => grantId))
  const amounts = plainArray(returned.map(({ amountMinor }) => amountMinor))
  await tx.query(
    `UPDATE credit_grants g SET remaining_minor = g.remaining_minor + n.amount
     FROM unnest($1::uuid[], $2::bigint[]) AS n (id, amount) WHERE g.tenant_id = app_tenant() AND g.id = n.id`,
    [ids, amounts],
  )
  await tx.query(
    `INSERT INTO credit_uses (tenant_id, kind, invoice_id, at, id, grant_id, amount_minor)
     SELECT app_tenant(), 'returned', $1, $2, n.id, n.grant_id, -n.amount
     FROM unnest($3::uuid[], $4::uuid[], $5::bigint[]) AS n (id, grant_id, amount)`,
    [invoiceId, new Date(atMs), idArray(returned.map(({ id }) => id)), ids, amounts],
  )
}
