import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Interval } from '../../../schemas/time/period.ts'
import { idArray, sparseArray, timeArray } from '../../array-text.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { CreditSchedule } from './schedule.ts'
import type { CreditScope, Rollover } from './terms.ts'

export type ScheduleRow = {
  id: string
  external_key: string
  customer_id: string
  name: string | null
  currency: string
  amount_minor: string
  priority: number
  scope: CreditScope | null
  rollover: Rollover | null
  period_interval: Interval
  period_every: number
  timezone: string
  start_at: Date
  until_at: Date | null
  grants: number | null
  expires: CreditSchedule['expires']
  expires_after_days: number | null
  created_at: Date
  next_index: number
  next_at: Date | null
  stopped_at: Date | null
}

const SCHEDULE = `
  SELECT id, external_key, customer_id, name, currency, amount_minor, priority, scope, rollover, period_interval,
    period_every, timezone, start_at, until_at, grants, expires, expires_after_days, created_at, next_index, next_at,
    stopped_at
  FROM credit_schedules`

/** False where the customer has one of the key. */
export async function insertSchedule(tx: TenantTransaction, schedule: CreditSchedule): Promise<boolean> {
  const { cadence, next } = schedule
  const { rowCount } = await tx.query(
    `INSERT INTO credit_schedules
       (tenant_id, id, external_key, customer_id, name, currency, amount_minor, priority, scope, rollover,
        period_interval, period_every, timezone, start_at, until_at, grants, expires, expires_after_days, created_at,
        next_index, next_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
     ON CONFLICT (tenant_id, customer_id, external_key) DO NOTHING`,
    [
      ...[schedule.id, schedule.externalKey, schedule.customerId, schedule.name, schedule.currency],
      ...[schedule.amountMinor, schedule.priority],
      ...[schedule.scope, schedule.rollover].map((terms) => (terms === null ? null : JSON.stringify(terms))),
      ...[cadence.interval, cadence.every, schedule.zone, new Date(schedule.startMs)],
      schedule.untilMs === null ? null : new Date(schedule.untilMs),
      ...[schedule.grants, schedule.expires, schedule.expiresAfterDays, new Date(schedule.createdAtMs)],
      ...[next?.index ?? 0, next === null ? null : new Date(next.atMs)],
    ],
  )
  return rowCount === 1
}

/** Of a customer, by id or external key; an id wins over an external key that looks like one. */
export async function findSchedule(
  tx: TenantTransaction,
  customerId: string,
  idOrKey: string,
): Promise<CreditSchedule | undefined> {
  const { rows } = await tx.query<ScheduleRow>(
    `${SCHEDULE} WHERE customer_id = $1 AND (id = $2::uuid OR external_key = $3)
     ORDER BY id = $2::uuid DESC NULLS LAST LIMIT 1`,
    [customerId, idOrNull(idOrKey), idOrKey],
  )
  return rows.map(scheduleFromRow)[0]
}

export async function findScheduleByKey(
  tx: TenantTransaction,
  customerId: string,
  externalKey: string,
): Promise<CreditSchedule | undefined> {
  const { rows } = await tx.query<ScheduleRow>(`${SCHEDULE} WHERE customer_id = $1 AND external_key = $2`, [
    customerId,
    externalKey,
  ])
  return rows.map(scheduleFromRow)[0]
}

export async function listSchedules(tx: TenantTransaction, customerId: string, page: Page): Promise<CreditSchedule[]> {
  const { rows } = await tx.query<ScheduleRow>(
    `${SCHEDULE} WHERE customer_id = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3`,
    [customerId, page.after, page.limit],
  )
  return rows.map(scheduleFromRow)
}

/** Of the customers; nobody else gives their grants until the end of `tx`. */
export async function lockDueSchedules(
  tx: TenantTransaction,
  customerIds: readonly string[],
  atMs: number,
): Promise<CreditSchedule[]> {
  const { rows } = await tx.query<ScheduleRow>(
    `${SCHEDULE} WHERE customer_id = ANY ($1::uuid[]) AND next_at <= $2 ORDER BY customer_id, id FOR UPDATE`,
    [idArray(customerIds), new Date(atMs)],
  )
  return rows.map(scheduleFromRow)
}

/** All of a customer that are not stopped, in the same order: for whoever changes one, before grants are locked. */
export async function lockSchedules(tx: TenantTransaction, customerId: string): Promise<void> {
  await tx.query(
    `SELECT FROM credit_schedules WHERE customer_id = $1 AND stopped_at IS NULL ORDER BY customer_id, id FOR UPDATE`,
    [customerId],
  )
}

/** Behind `lockDueSchedules`: which grant of each comes next. */
export async function moveSchedules(
  tx: TenantTransaction,
  moved: readonly Pick<CreditSchedule, 'id' | 'next'>[],
): Promise<void> {
  await tx.query(
    `UPDATE credit_schedules s SET next_index = coalesce(n.next_index, s.next_index), next_at = n.next_at
     FROM unnest($1::uuid[], $2::integer[], $3::timestamptz[]) AS n (id, next_index, next_at)
     WHERE s.tenant_id = app_tenant() AND s.id = n.id`,
    [
      idArray(moved.map(({ id }) => id)),
      sparseArray(moved.map(({ next }) => next?.index.toString())),
      timeArray(moved.map(({ next }) => next?.atMs)),
    ],
  )
}

/** Gives nothing any more; false where it was stopped before. Whoever gives at this moment is waited for. */
export async function stopSchedule(tx: TenantTransaction, id: string, atMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    'UPDATE credit_schedules SET next_at = NULL, stopped_at = $2 WHERE id = $1 AND stopped_at IS NULL',
    [id, new Date(atMs)],
  )
  return rowCount === 1
}

function scheduleFromRow(row: ScheduleRow): CreditSchedule {
  return {
    id: row.id,
    externalKey: row.external_key,
    customerId: row.customer_id,
    name: row.name,
    currency: row.currency,
    amountMinor: BigInt(row.amount_minor),
    priority: row.priority,
    scope: row.scope,
    rollover: row.rollover,
    cadence: { interval: row.period_interval, every: row.period_every },
    zone: row.timezone,
    startMs: row.start_at.getTime(),
    untilMs: row.until_at?.getTime() ?? null,
    grants: row.grants,
    expires: row.expires,
    expiresAfterDays: row.expires_after_days,
    createdAtMs: row.created_at.getTime(),
    next: row.next_at && { index: row.next_index, atMs: row.next_at.getTime() },
    stoppedAtMs: row.stopped_at?.getTime() ?? null,
  }
}
