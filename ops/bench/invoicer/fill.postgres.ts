import pg from 'pg'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { createIds } from '../../host/new-ids.ts'

/** Rows a statement. */
const AT_ONCE = 10_000

/**
 * Many more customers with one subject and one subscription each, like one that is there, with the rows that it has and
 * none of the history. Creating each as a user does would take longer than billing it for years.
 */
export async function copySubscriber(
  transact: <T>(work: (tx: TenantTransaction) => Promise<T>) => Promise<T>,
  like: string,
  subjects: readonly string[],
): Promise<void> {
  const newId = createIds(Date.now)
  for (let first = 0; first < subjects.length; first += AT_ONCE) {
    const keys = subjects.slice(first, first + AT_ONCE)
    const ids = [like, keys, keys.map(newId), keys.map(newId)]
    await transact(async (tx) => {
      await tx.query(
        `INSERT INTO customers SELECT (jsonb_populate_record(c, jsonb_build_object('id', n.id, 'external_key', n.key))).*
         FROM customers c, unnest($2::text[], $3::uuid[]) AS n (key, id) WHERE c.external_key = $1`,
        ids.slice(0, 3),
      )
      await tx.query(
        `INSERT INTO customer_subjects (tenant_id, subject, customer_id)
         SELECT app_tenant(), n.key, n.id FROM unnest($1::text[], $2::uuid[]) AS n (key, id)`,
        ids.slice(1, 3),
      )
      await tx.query(
        `INSERT INTO subscriptions
         SELECT (jsonb_populate_record(s,
           jsonb_build_object('id', n.id, 'external_key', n.key, 'customer_id', n.customer_id))).*
         FROM subscriptions s, unnest($2::text[], $3::uuid[], $4::uuid[]) AS n (key, customer_id, id)
         WHERE s.external_key = $1`,
        ids,
      )
    })
  }
}

/** What autovacuum does within a minute. */
export async function analyze(ownerUrl: string): Promise<void> {
  const owner = new pg.Client({ connectionString: ownerUrl })
  await owner.connect()
  await owner.query('ANALYZE')
  await owner.end()
}

/** What a run made. */
export async function countIssued(tx: TenantTransaction, runId: string): Promise<{ invoices: number; lines: number }> {
  const { rows } = await tx.query<{ invoices: number; lines: number }>(
    `SELECT count(DISTINCT i.id)::integer AS invoices, count(l.invoice_id)::integer AS lines
     FROM invoices i LEFT JOIN invoice_lines l ON l.tenant_id = i.tenant_id AND l.invoice_id = i.id
     WHERE i.billing_run_id = $1 AND i.number IS NOT NULL`,
    [runId],
  )
  const [row] = rows
  if (row === undefined) throw new Error('There is no count.')
  return row
}
