import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'

/** The counter is there before any invoice asks for a number, so that drawing is one UPDATE. */
export async function ensureInvoiceNumbers(tx: TenantTransaction): Promise<void> {
  await tx.query(
    'INSERT INTO invoice_numbers (tenant_id, last_number) VALUES (app_tenant(), 0) ON CONFLICT (tenant_id) DO NOTHING',
  )
}

/**
 * SQL that draws the next numbers for as many invoices as there are values in `entities`, a parameter with the legal entity
 * of each or null: as `drawn (entity_id, before)`, the last number of each series before. The tenant's own series is locked
 * before those of entities, and these by id, so that all who draw at once wait in one order.
 */
export function numbersDrawn(entities: `$${number}`): string {
  return `wanted AS (
       SELECT entity_id, count(*) AS invoices FROM unnest(${entities}::uuid[]) AS w (entity_id) GROUP BY entity_id
     ), own AS (
       UPDATE invoice_numbers n SET last_number = n.last_number + w.invoices
       FROM wanted w WHERE n.tenant_id = app_tenant() AND w.entity_id IS NULL
       RETURNING w.entity_id, n.last_number - w.invoices AS before
     ), locked AS (
       SELECT e.id, w.invoices
       FROM (SELECT count(*) FROM own) AS first_own, legal_entities e JOIN wanted w ON w.entity_id = e.id
       WHERE e.tenant_id = app_tenant() ORDER BY e.id FOR NO KEY UPDATE OF e
     ), entities AS (
       UPDATE legal_entities e SET last_number = e.last_number + k.invoices
       FROM locked k WHERE e.tenant_id = app_tenant() AND e.id = k.id
       RETURNING e.id AS entity_id, e.last_number - k.invoices AS before
     ), drawn AS (SELECT * FROM own UNION ALL SELECT * FROM entities)`
}
