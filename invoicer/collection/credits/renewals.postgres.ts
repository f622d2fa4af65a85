import type { Pool } from 'pg'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Interval } from '../../../schemas/time/period.ts'
import { idArray } from '../../array-text.ts'
import type { CreditGrant } from './credit.ts'
import { GRANT_ORDER } from './credits.postgres.ts'
import type { CreditSchedule } from './schedule.ts'
import type { CreditScope, Rollover } from './terms.ts'

/** What is left of a grant, with what decides how it goes on: the periods of its schedule, and its customer's zone. */
export type LeftCredit = Omit<
  CreditGrant,
  'externalKey' | 'balanceMinor' | 'scheduleIndex' | 'rolledFrom' | 'purchaseId'
> & {
  schedule: Pick<CreditSchedule, 'cadence' | 'zone' | 'startMs'> | null
  zone: string
}

/** Each rolls over once, whatever comes back to it. */
const HAS_ROLLED = 'EXISTS (SELECT FROM credit_grants n WHERE n.tenant_id = g.tenant_id AND n.rolled_from = g.id)'
const ROLLS = `g.remaining_minor > 0 AND g.rollover IS NOT NULL AND g.expires_at <= $2 AND NOT ${HAS_ROLLED}`

/** Which of the customers, or of all, have grants to be given or to roll over, in the order of their ids. */
export async function listRenewals(
  tx: TenantTransaction,
  customerIds: readonly string[] | null,
  atMs: number,
  most: number,
): Promise<string[]> {
  const { rows } = await tx.query<{ customer_id: string }>(
    `SELECT s.customer_id FROM credit_schedules s
     WHERE s.next_at <= $2 AND ($1::uuid[] IS NULL OR s.customer_id = ANY ($1))
     UNION
     SELECT g.customer_id FROM credit_grants g
     WHERE ${ROLLS} AND ($1::uuid[] IS NULL OR g.customer_id = ANY ($1))
     ORDER BY 1 LIMIT $3`,
    [customerIds === null ? null : idArray(customerIds), new Date(atMs), most],
  )
  return rows.map((row) => row.customer_id)
}

type LeftRow = {
  id: string
  customer_id: string
  name: string | null
  currency: string
  amount_minor: string
  remaining_minor: string
  priority: number
  expires_at: Date | null
  scope: CreditScope | null
  rollover: Rollover | null
  schedule_id: string | null
  created_at: Date
  timezone: string
  schedule_zone: string | null
  period_interval: Interval
  period_every: number
  start_at: Date
}

/**
 * What the customers have left, expired or not; nobody else uses it until the end of `tx`. All of it, and in the order in
 * which whoever draws locks: one that holds a part never waits for one that waits for that.
 */
export async function lockLeft(tx: TenantTransaction, customerIds: readonly string[]): Promise<LeftCredit[]> {
  const { rows } = await tx.query<LeftRow>(
    `WITH locked AS MATERIALIZED (
       SELECT * FROM credit_grants WHERE customer_id = ANY ($1::uuid[]) AND remaining_minor > 0
       ORDER BY ${GRANT_ORDER} FOR NO KEY UPDATE
     )
     SELECT g.id, g.customer_id, g.name, g.currency, g.amount_minor, g.remaining_minor, g.priority, g.expires_at, g.scope,
       CASE WHEN ${HAS_ROLLED} THEN NULL ELSE g.rollover END AS rollover, g.schedule_id, g.created_at, c.timezone,
       s.timezone AS schedule_zone, s.period_interval, s.period_every, s.start_at
     FROM locked g
     JOIN customers c ON c.tenant_id = g.tenant_id AND c.id = g.customer_id
     LEFT JOIN credit_schedules s ON s.tenant_id = g.tenant_id AND s.id = g.schedule_id`,
    [idArray(customerIds)],
  )
  return rows.map(leftFromRow)
}

export async function tenantsWithCreditToRenew(pool: Pool, atMs: number): Promise<TenantId[]> {
  const { rows } = await pool.query<{ tenant_id: TenantId }>('SELECT tenant_id FROM tenants_with_credit_to_renew($1)', [
    new Date(atMs),
  ])
  return rows.map((row) => row.tenant_id)
}

function leftFromRow(row: LeftRow): LeftCredit {
  const { schedule_zone: zone, period_interval: interval, period_every: every } = row
  return {
    id: row.id,
    customerId: row.customer_id,
    name: row.name,
    currency: row.currency,
    amountMinor: BigInt(row.amount_minor),
    remainingMinor: BigInt(row.remaining_minor),
    priority: row.priority,
    expiresAtMs: row.expires_at?.getTime() ?? null,
    scope: row.scope,
    rollover: row.rollover,
    scheduleId: row.schedule_id,
    createdAtMs: row.created_at.getTime(),
    schedule: zone === null ? null : { cadence: { interval, every }, zone, startMs: row.start_at.getTime() },
    zone: row.timezone,
  }
}
