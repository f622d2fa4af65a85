import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { textArray } from '../../array-text.ts'
import type { Page } from '../../transaction.ts'
import { listToRate } from '../preview/to-rate.postgres.ts'
import type { BillingRun } from '../run/billing-run.ts'
import type { DueWindow, Ended } from './missing.ts'

/**
 * What falls due between the last run that billed everything and this one; undefined where there was none, so that
 * nobody can be missing.
 */
export async function findDueWindow(tx: TenantTransaction, run: BillingRun): Promise<DueWindow | undefined> {
  const { rows } = await tx.query<{ as_of: Date | null }>(
    `SELECT max(as_of) AS as_of FROM billing_runs
     WHERE state = 'completed' AND NOT dry_run AND retries_run IS NULL AND id <> $1 AND as_of < $2`,
    [run.id, new Date(run.asOfMs)],
  )
  const after = rows[0]?.as_of
  return after ? { afterMs: after.getTime(), untilMs: run.asOfMs } : undefined
}

/** Boundaries of periods lie at most so far from where equal months would put them: those of 28 and 31 days, and clocks. */
const SLACK = "interval '4 days'"

/**
 * Subscriptions after a cursor that have ended, in order, with their last invoice of a period; those whose next one, as long
 * as by the plan of that, may have been due in the window.
 */
export async function listEnded(tx: TenantTransaction, { afterMs, untilMs }: DueWindow, page: Page): Promise<Ended[]> {
  const { rows } = await tx.query<{
    id: string
    customer_id: string
    currency: string
    period_end: Date
    total_minor: string
  }>(
    `SELECT s.id, s.customer_id, i.currency, i.period_end, i.total_minor
     FROM subscriptions s
     JOIN LATERAL (
       SELECT i.plan_id, i.period_end, i.total_minor, i.currency FROM invoices i
       WHERE i.tenant_id = s.tenant_id AND i.subscription_id = s.id AND NOT i.off_cycle
         AND i.state NOT IN ('draft', 'void')
       ORDER BY i.period_start DESC LIMIT 1) i ON true
     JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = i.plan_id
     WHERE s.next_period_start IS NULL AND s.end_at <= $2 AND ($3::uuid IS NULL OR s.id > $3)
       AND i.period_end + ${SLACK} + make_interval(secs => p.grace_seconds) + p.period_every * CASE p.period_interval
         WHEN 'day' THEN interval '1 day' WHEN 'week' THEN interval '7 days' WHEN 'month' THEN interval '1 month'
         WHEN 'quarter' THEN interval '3 months' WHEN 'half_year' THEN interval '6 months'
         ELSE interval '1 year' END > $1
     ORDER BY s.id LIMIT $4`,
    [new Date(afterMs), new Date(untilMs), page.after, page.limit],
  )
  const toRate = new Map(
    (
      await listToRate(
        tx,
        rows.map(({ id }) => id),
      )
    ).map((one) => [one.id, one]),
  )
  return rows.flatMap((row): Ended[] => {
    const subscription = toRate.get(row.id)
    if (subscription === undefined) return []
    const { terms, graceMs } = subscription
    return [
      {
        subscriptionId: row.id,
        customerId: row.customer_id,
        currency: row.currency,
        terms,
        graceMs,
        billedUntilMs: row.period_end.getTime(),
        previousMinor: BigInt(row.total_minor),
      },
    ]
  })
}

/** Those after a cursor that have ended and have one of these subjects, in order. */
export async function listEndedOf(tx: TenantTransaction, subjects: readonly string[], page: Page): Promise<string[]> {
  if (subjects.length === 0) return []
  const { rows } = await tx.query<{ id: string }>(
    `SELECT DISTINCT s.id FROM customer_subjects k
     JOIN subscriptions s ON s.tenant_id = k.tenant_id AND s.customer_id = k.customer_id
     WHERE k.subject = ANY ($1::text[]) AND s.next_period_start IS NULL AND ($2::uuid IS NULL OR s.id > $2)
     ORDER BY s.id LIMIT $3`,
    [textArray(subjects), page.after, page.limit],
  )
  return rows.map(({ id }) => id)
}
