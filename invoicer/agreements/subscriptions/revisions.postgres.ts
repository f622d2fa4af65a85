import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idArray, plainArray, timeArray } from '../../array-text.ts'

/** A subscription as it was rated: at which revision, and where its next period starts. */
export type AsRated = { id: string; revision: number; nextStartMs: number }

/** Behind the locks of these subscriptions: how often each was changed. */
export async function listRevisions(tx: TenantTransaction, ids: readonly string[]): Promise<Map<string, number>> {
  if (ids.length === 0) return new Map()
  const { rows } = await tx.query<{ id: string; revision: number }>(
    'SELECT id, revision FROM subscriptions WHERE id = ANY ($1::uuid[])',
    [idArray(ids)],
  )
  return new Map(rows.map(({ id, revision }) => [id, revision]))
}

/** Whether its period has an invoice inside of it that is not void. */
export async function hasProgress(tx: TenantTransaction, id: string, periodStartMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `SELECT FROM progressive_invoices g JOIN invoices i ON i.tenant_id = g.tenant_id AND i.id = g.invoice_id
     WHERE g.subscription_id = $1 AND g.period_start = $2 AND i.state <> 'void' LIMIT 1`,
    [id, new Date(periodStartMs)],
  )
  return rowCount === 1
}

/**
 * As `reviseSubscription` for many, behind their locks: those that stand as they were rated have a revision more, with the
 * same phases, and are answered.
 */
export async function reviseAsRated(tx: TenantTransaction, rated: readonly AsRated[]): Promise<Set<string>> {
  if (rated.length === 0) return new Set()
  const { rows } = await tx.query<{ id: string }>(
    `UPDATE subscriptions s SET revision = s.revision + 1
     FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[]) AS n (id, revision, next_start)
     WHERE s.tenant_id = app_tenant() AND s.id = n.id AND s.revision = n.revision AND s.next_period_start = n.next_start
     RETURNING s.id`,
    [
      idArray(rated.map(({ id }) => id)),
      plainArray(rated.map(({ revision }) => revision)),
      timeArray(rated.map(({ nextStartMs }) => nextStartMs)),
    ],
  )
  const revised = rows.map(({ id }) => id)
  if (revised.length > 0) await copyPhases(tx, revised)
  return new Set(revised)
}

/** To the revisions that they have by now; of those that never had any, the one that their plan says. */
async function copyPhases(tx: TenantTransaction, ids: readonly string[]): Promise<void> {
  await tx.query(
    `INSERT INTO subscription_phases
       (tenant_id, subscription_id, revision, start_at, plan_id, kind, bills, anchor_at, quantities, add_ons)
     SELECT s.tenant_id, s.id, s.revision, f.start_at, f.plan_id, f.kind, f.bills, f.anchor_at, f.quantities, f.add_ons
     FROM subscriptions s JOIN subscription_phases f
       ON f.tenant_id = s.tenant_id AND f.subscription_id = s.id AND f.revision = s.revision - 1
     WHERE s.id = ANY ($1::uuid[])
     UNION ALL
     SELECT s.tenant_id, s.id, s.revision, s.start_at, s.plan_id, 'active', true, s.start_at, NULL, NULL
     FROM subscriptions s
     WHERE s.id = ANY ($1::uuid[]) AND NOT EXISTS (
       SELECT FROM subscription_phases f
       WHERE f.tenant_id = s.tenant_id AND f.subscription_id = s.id AND f.revision = s.revision - 1)`,
    [idArray(ids)],
  )
}
