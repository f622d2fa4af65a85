import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Phase } from '../../agreements/subscriptions/phases.ts'
import type { Terms } from '../../agreements/subscriptions/subscription.ts'
import type { DueSubscription, ToRate } from '../due.ts'

export type ToRateRow = {
  id: string
  customer_id: string
  customer_key: string
  subjects: string[]
  plan_id: string
  phases: Phase[] | null
  revision: number
  grace_seconds: number
  start_at: Date
  end_at: Date | null
  period_interval: Terms['interval']
  period_every: number
  alignment: Terms['alignment']
  timezone: string
  next_period_start: Date | null
  next_period_end: Date | null
}

/** What rating needs to know of a subscription `s` with its plan `p` and customer `c`. */
export const TO_RATE = `
  s.id, s.customer_id, c.external_key AS customer_key, s.plan_id, p.grace_seconds, s.start_at, s.end_at,
  p.period_interval, p.period_every, p.alignment, c.timezone, s.next_period_start, s.next_period_end,
  ARRAY(SELECT b.subject FROM customer_subjects b
        WHERE b.tenant_id = c.tenant_id AND b.customer_id = c.id ORDER BY b.subject COLLATE "C") AS subjects,
  s.revision,
  CASE WHEN s.revision > 0 THEN (
    SELECT jsonb_agg(jsonb_build_object('startMs', (extract(epoch FROM f.start_at) * 1000)::bigint, 'planId', f.plan_id,
                                        'kind', f.kind, 'bills', f.bills) ORDER BY f.start_at)
    FROM subscription_phases f
    WHERE f.tenant_id = s.tenant_id AND f.subscription_id = s.id AND f.revision = s.revision) END AS phases`

/** What the run has parked already stays out of it. */
const DUE = `
  FROM subscriptions s
  JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id
  JOIN customers c ON c.tenant_id = s.tenant_id AND c.id = s.customer_id
  WHERE s.next_period_end <= $1
    AND s.next_period_end + make_interval(secs => p.grace_seconds) <= $1
    AND NOT EXISTS (SELECT FROM parked_subscriptions k
                    WHERE k.tenant_id = s.tenant_id AND k.billing_run_id = $2 AND k.subscription_id = s.id)`

export async function countDue(tx: TenantTransaction, asOfMs: number, runId: string | null): Promise<number> {
  const { rows } = await tx.query<{ count: number }>(`SELECT count(*)::integer AS count ${DUE}`, [
    new Date(asOfMs),
    runId,
  ])
  return rows[0]?.count ?? 0
}

/** The next subscriptions after a cursor, in the order of their ids: the order in which all runners take locks. */
export async function listDue(
  tx: TenantTransaction,
  asOfMs: number,
  runId: string,
  page: { after: string | null; limit: number },
): Promise<DueSubscription[]> {
  const { rows } = await tx.query<ToRateRow>(
    `SELECT ${TO_RATE} ${DUE} AND ($3::uuid IS NULL OR s.id > $3) ORDER BY s.id LIMIT $4`,
    [new Date(asOfMs), runId, page.after, page.limit],
  )
  return rows.map(toRateFromRow).filter(isDue)
}

export function toRateFromRow(row: ToRateRow): ToRate {
  const { next_period_start: nextStart, next_period_end: nextEnd } = row
  return {
    id: row.id,
    customerId: row.customer_id,
    customerKey: row.customer_key,
    subjects: row.subjects,
    planId: row.plan_id,
    phases: row.phases,
    revision: row.revision,
    graceMs: row.grace_seconds * 1000,
    terms: {
      startMs: row.start_at.getTime(),
      endMs: row.end_at === null ? null : row.end_at.getTime(),
      interval: row.period_interval,
      every: row.period_every,
      alignment: row.alignment,
      zone: row.timezone,
    },
    next: nextStart && nextEnd && { startMs: nextStart.getTime(), endMs: nextEnd.getTime() },
  }
}

function isDue(subscription: ToRate): subscription is DueSubscription {
  return subscription.next !== null
}
