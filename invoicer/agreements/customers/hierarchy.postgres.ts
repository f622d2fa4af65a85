import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { PlaceAmongCustomers } from './customer.ts'

/** Until the end of the transaction nobody else changes who stands below whom, or who pays. */
export async function lockHierarchy(tx: TenantTransaction): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('customer hierarchy', app_tenant()))")
}

/** The customer with an external key, then its parent, and so on to the top; empty where it is not there. */
export async function listUpwards(
  tx: TenantTransaction,
  externalKey: string,
): Promise<{ id: string; currency: string }[]> {
  const { rows } = await tx.query<{ id: string; currency: string }>(
    `WITH RECURSIVE upwards AS (
       SELECT id, currency, parent_id, 1 AS level FROM customers WHERE external_key = $1
       UNION ALL
       SELECT c.id, c.currency, c.parent_id, u.level + 1 FROM upwards u
       JOIN customers c ON c.tenant_id = app_tenant() AND c.id = u.parent_id
     )
     SELECT id, currency FROM upwards ORDER BY level`,
    [externalKey],
  )
  return rows
}

/** How many levels a customer and all below it have: 1 where nobody is below. */
export async function levelsBelow(tx: TenantTransaction, id: string): Promise<number> {
  const { rows } = await tx.query<{ levels: number }>(
    `WITH RECURSIVE below AS (
       SELECT $1::uuid AS id, 1 AS level
       UNION ALL
       SELECT c.id, b.level + 1 FROM below b JOIN customers c ON c.tenant_id = app_tenant() AND c.parent_id = b.id
     )
     SELECT max(level)::integer AS levels FROM below`,
    [id],
  )
  return rows[0]?.levels ?? 1
}

export async function updatePlace(
  tx: TenantTransaction,
  { id, parent, pays, consolidate }: PlaceAmongCustomers & { id: string },
): Promise<void> {
  await tx.query(
    `UPDATE customers c SET parent_id = p.id, pays = $3, consolidates = $4,
       payer_id = CASE WHEN $3 = 'parent' THEN coalesce(p.payer_id, p.id) END
     FROM (SELECT 1) AS one LEFT JOIN customers p ON p.tenant_id = app_tenant() AND p.external_key = $2
     WHERE c.tenant_id = app_tenant() AND c.id = $1`,
    [id, parent, pays, consolidate],
  )
}

/** Who pays in the end for those below a customer, behind a change of it. */
export async function updatePayersBelow(tx: TenantTransaction, id: string): Promise<void> {
  await tx.query(
    `WITH RECURSIVE below AS (
       SELECT id, payer_id FROM customers WHERE id = $1
       UNION ALL
       SELECT c.id, CASE WHEN c.pays = 'parent' THEN coalesce(b.payer_id, b.id) END FROM below b
       JOIN customers c ON c.tenant_id = app_tenant() AND c.parent_id = b.id
     )
     UPDATE customers c SET payer_id = b.payer_id FROM below b
     WHERE c.tenant_id = app_tenant() AND c.id = b.id AND c.payer_id IS DISTINCT FROM b.payer_id`,
    [id],
  )
}
