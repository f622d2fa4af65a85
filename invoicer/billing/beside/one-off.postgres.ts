import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'

/** What an idempotency key stands for. */
export type OneOff = { request: object; invoiceId: string }

export async function findOneOff(tx: TenantTransaction, idempotencyKey: string): Promise<OneOff | undefined> {
  const { rows } = await tx.query<{ request: object; invoice_id: string }>(
    'SELECT request, invoice_id FROM one_off_invoices WHERE idempotency_key = $1',
    [idempotencyKey],
  )
  return rows.map((row) => ({ request: row.request, invoiceId: row.invoice_id }))[0]
}

/** False where the key is taken; waits for a transaction that is about to take it. */
export async function insertOneOff(
  tx: TenantTransaction,
  idempotencyKey: string,
  { request, invoiceId }: OneOff,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO one_off_invoices (tenant_id, idempotency_key, request, invoice_id) VALUES (app_tenant(), $1, $2, $3)
     ON CONFLICT (tenant_id, idempotency_key) DO NOTHING`,
    [idempotencyKey, JSON.stringify(request), invoiceId],
  )
  return rowCount === 1
}

/** Who pays for a customer in the end: itself, or one above it. */
export async function payerOf(tx: TenantTransaction, customerId: string): Promise<{ id: string; key: string }> {
  const { rows } = await tx.query<{ id: string; key: string }>(
    `SELECT p.id, p.external_key AS key FROM customers c
     JOIN customers p ON p.tenant_id = c.tenant_id AND p.id = coalesce(c.payer_id, c.id) WHERE c.id = $1`,
    [customerId],
  )
  const [payer] = rows
  if (payer === undefined) throw new Error(`Customer ${customerId} is not there.`)
  return payer
}
