import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { recurringLater } from '../../agreements/subscriptions/periods.ts'
import type { Phase } from '../../agreements/subscriptions/phases.ts'
import type { Recurrence, Terms } from '../../agreements/subscriptions/subscription.ts'
import { feesAhead, phaseExtras } from '../../agreements/subscriptions/subscriptions.postgres.ts'
import type { DueSubscription, Payer, ToRate } from '../due.ts'
import type { BilledFee } from '../fees/billed-fee.ts'
import { FORMER_PAYER, PROGRESS, type ProgressRow, progressFromRow } from '../progressive/progress.postgres.ts'

export type ToRateRow = {
  id: string
  customer_id: string
  customer_key: string
  payer: Payer | null
  subjects: string[]
  plan_id: string
  phases: (Phase & { periods: Recurrence })[] | null
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
  fees_due_at: Date | null
  fees_until: Date | null
  billed_fees:
    | (Omit<BilledFee, 'amountMinor' | 'discountMinor'> & { amountMinor: string; discountMinor: string })[]
    | null
  progress: ProgressRow[] | null
}

/** Fees billed in advance of the subscription `s`, of periods that have no invoice of their own, or get one again. */
const BILLED_FEES = `
  SELECT jsonb_agg(jsonb_build_object('invoiceId', b.invoice_id, 'planId', b.plan_id, 'chargeKey', b.charge_key,
      'description', l.description,
      'periodStartMs', (extract(epoch FROM b.period_start) * 1000)::bigint, 'amountMinor', b.amount_minor::text,
      'discountMinor', (l.amount_minor - b.amount_minor + (SELECT coalesce(sum(d.amount_minor), 0) FROM invoice_lines d
        WHERE d.tenant_id = b.tenant_id AND d.invoice_id = b.invoice_id AND d.lowers_line = b.line_index))::text,
      'served', jsonb_build_object('startMs', (extract(epoch FROM l.period_start) * 1000)::bigint,
                                   'endMs', (extract(epoch FROM l.period_end) * 1000)::bigint),
      'tax', CASE WHEN l.tax_minor IS NOT NULL THEN jsonb_build_object('ratePercent', trim_scale(l.tax_rate_percent)::text,
        'code', l.tax_code, 'reason', l.tax_reason, 'certificate', l.tax_certificate, 'inclusive', l.tax_inclusive) END,
      'sellerId', i.legal_entity_id, 'formerPayer', ${FORMER_PAYER}) ORDER BY i.finalised_at, b.invoice_id, b.line_index)
  FROM billed_fees b
  JOIN invoices i ON i.tenant_id = b.tenant_id AND i.id = b.invoice_id AND i.state <> 'void'
  JOIN invoice_lines l ON l.tenant_id = b.tenant_id AND l.invoice_id = b.invoice_id AND l.line_index = b.line_index
  WHERE b.tenant_id = s.tenant_id AND b.subscription_id = s.id AND b.period_start >= coalesce((
    SELECT min(g.period_start) FROM periods_to_bill_again g
    WHERE g.tenant_id = s.tenant_id AND g.subscription_id = s.id AND g.invoice_id IS NULL), s.next_period_start)`

/** What rating needs to know of a subscription `s` with its plan `p` and customer `c`. */
export const TO_RATE = `
  s.id, s.customer_id, c.external_key AS customer_key, s.plan_id, p.grace_seconds, s.start_at, s.end_at,
  p.period_interval, p.period_every, p.alignment, c.timezone, s.next_period_start, s.next_period_end,
  ARRAY(SELECT b.subject FROM customer_subjects b
        WHERE b.tenant_id = c.tenant_id AND b.customer_id = c.id ORDER BY b.subject COLLATE "C") AS subjects,
  s.revision, s.fees_due_at, s.fees_until,
  CASE WHEN c.payer_id IS NOT NULL OR c.consolidates THEN (
    SELECT jsonb_build_object('id', y.id, 'key', y.external_key, 'consolidates', y.consolidates)
    FROM customers y WHERE y.tenant_id = c.tenant_id AND y.id = coalesce(c.payer_id, c.id)) END AS payer,
  -- Where neither is so it never had a fee in advance, as of plans with usage alone: nothing is looked for.
  CASE WHEN ${feesAhead('p')} OR (s.revision > 0 AND EXISTS (
      SELECT FROM subscription_phases f CROSS JOIN LATERAL (
        SELECT f.plan_id UNION ALL SELECT (a.value ->> 'planId')::uuid FROM jsonb_array_elements(f.add_ons) AS a) AS u
      JOIN plans q ON q.tenant_id = f.tenant_id AND q.id = u.plan_id
      WHERE f.tenant_id = s.tenant_id AND f.subscription_id = s.id AND ${feesAhead('q')}))
    THEN (${BILLED_FEES}) END AS billed_fees,
  ${PROGRESS} AS progress,
  CASE WHEN s.revision > 0 THEN (
    SELECT jsonb_agg(jsonb_build_object('startMs', (extract(epoch FROM f.start_at) * 1000)::bigint, 'planId', f.plan_id,
                                        'kind', f.kind, 'bills', f.bills, 'periods', jsonb_build_object(
                                          'interval', q.period_interval, 'every', q.period_every,
                                          'alignment', q.alignment)) || ${phaseExtras('f')} ORDER BY f.start_at)
    FROM subscription_phases f JOIN plans q ON q.tenant_id = f.tenant_id AND q.id = f.plan_id
    WHERE f.tenant_id = s.tenant_id AND f.subscription_id = s.id AND f.revision = s.revision) END AS phases`

/**
 * What the run has parked already stays out of it; of a run that tries another one's again, all else does. A period to be
 * billed again that cannot be rated keeps no later one from being billed: it may stay so for long.
 */
const DUE = `
  FROM subscriptions s
  JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id
  JOIN customers c ON c.tenant_id = s.tenant_id AND c.id = s.customer_id
  WHERE (s.fees_due_at <= $1
      OR (s.next_period_end <= $1 AND s.next_period_end + make_interval(secs => p.grace_seconds) <= $1))
    AND NOT EXISTS (SELECT FROM parked_subscriptions k
                    WHERE k.tenant_id = s.tenant_id AND k.billing_run_id = $2 AND k.subscription_id = s.id
                      AND (k.is_due OR NOT EXISTS (
                        SELECT FROM periods_to_bill_again g
                        WHERE g.tenant_id = k.tenant_id AND g.subscription_id = k.subscription_id
                          AND g.period_start = k.period_start AND g.invoice_id IS NULL)))
    AND ($3::uuid IS NULL OR EXISTS (
      SELECT FROM parked_subscriptions k
      WHERE k.tenant_id = s.tenant_id AND k.billing_run_id = $3 AND k.subscription_id = s.id AND k.is_due))`

export async function countDue(
  tx: TenantTransaction,
  asOfMs: number,
  runId: string | null,
  retriesRun: string | null = null,
): Promise<number> {
  const { rows } = await tx.query<{ count: number }>(`SELECT count(*)::integer AS count ${DUE}`, [
    new Date(asOfMs),
    runId,
    retriesRun,
  ])
  return rows[0]?.count ?? 0
}

/** The next subscriptions after a cursor, in the order of their ids: the order in which all runners take locks. */
export async function listDue(
  tx: TenantTransaction,
  asOfMs: number,
  runId: string,
  page: { after: string | null; limit: number },
  retriesRun: string | null = null,
): Promise<DueSubscription[]> {
  const { rows } = await tx.query<ToRateRow>(
    `SELECT ${TO_RATE} ${DUE} AND ($4::uuid IS NULL OR s.id > $4) ORDER BY s.id LIMIT $5`,
    [new Date(asOfMs), runId, retriesRun, page.after, page.limit],
  )
  return rows.map(toRateFromRow).filter(isDue)
}

export function toRateFromRow(row: ToRateRow): ToRate {
  const { next_period_start: nextStart, next_period_end: nextEnd } = row
  const first = { interval: row.period_interval, every: row.period_every, alignment: row.alignment }
  return {
    id: row.id,
    customerId: row.customer_id,
    customerKey: row.customer_key,
    payer: row.payer,
    subjects: row.subjects,
    planId: row.plan_id,
    phases: row.phases,
    revision: row.revision,
    graceMs: row.grace_seconds * 1000,
    terms: {
      startMs: row.start_at.getTime(),
      endMs: row.end_at === null ? null : row.end_at.getTime(),
      ...first,
      zone: row.timezone,
      later: recurringLater(first, row.phases ?? []),
    },
    next: nextStart && nextEnd && { startMs: nextStart.getTime(), endMs: nextEnd.getTime() },
    feesDueMs: row.fees_due_at?.getTime() ?? null,
    feesUntilMs: row.fees_until?.getTime() ?? null,
    billedFees: (row.billed_fees ?? []).map((fee) => {
      return { ...fee, amountMinor: BigInt(fee.amountMinor), discountMinor: BigInt(fee.discountMinor) }
    }),
    ...(row.progress === null ? {} : { progress: row.progress.map(progressFromRow) }),
  }
}

function isDue(subscription: ToRate): subscription is DueSubscription {
  return subscription.next !== null
}
