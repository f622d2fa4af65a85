import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Page } from '../../transaction.ts'
import type { Subscription } from './subscription.ts'

type SubscriptionRow = {
  id: string
  external_key: string
  customer_id: string
  plan_key: string
  state: 'active'
  start_at: Date
  end_at: Date | null
  next_period_start: Date | null
  next_period_end: Date | null
  created_at: Date
}

const SUBSCRIPTION = `
  SELECT s.id, s.external_key, s.customer_id, p.key AS plan_key, s.state, s.start_at, s.end_at,
    s.next_period_start, s.next_period_end, s.created_at
  FROM subscriptions s JOIN plans p ON p.tenant_id = s.tenant_id AND p.id = s.plan_id`

/** False if the external key is taken; waits for a transaction that is about to take it. */
export async function insertSubscription(
  tx: TenantTransaction,
  subscription: Subscription,
  planId: string,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO subscriptions
       (tenant_id, id, external_key, customer_id, plan_id, state, start_at, end_at, next_period_start, next_period_end,
        created_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
     ON CONFLICT (tenant_id, external_key) DO NOTHING`,
    [
      subscription.id,
      subscription.externalKey,
      subscription.customerId,
      planId,
      subscription.state,
      new Date(subscription.startMs),
      dateOrNull(subscription.endMs),
      dateOrNull(subscription.nextPeriod?.startMs),
      dateOrNull(subscription.nextPeriod?.endMs),
      new Date(subscription.createdAtMs),
    ],
  )
  return rowCount === 1
}

/** Until the end of the transaction nobody else subscribes the customer: what is looked for stays as it is seen. */
export async function lockSubscriptionsOf(tx: TenantTransaction, customerId: string): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('subscriptions ' || $1::text, app_tenant()))", [
    customerId,
  ])
}

/** Another subscription of the customer that prices one of the meters in some of the time of this one. */
export async function findOverlap(
  tx: TenantTransaction,
  subscription: Subscription,
  meters: readonly string[],
): Promise<{ externalKey: string; meter: string } | undefined> {
  const { rows } = await tx.query<{ external_key: string; meter: string }>(
    `SELECT s.external_key, c.meter
     FROM subscriptions s JOIN plan_charges c ON c.tenant_id = s.tenant_id AND c.plan_id = s.plan_id
     WHERE s.customer_id = $1 AND s.id <> $2 AND s.state = 'active' AND c.meter = ANY ($3::text[])
       AND (s.end_at IS NULL OR s.end_at > $4) AND ($5::timestamptz IS NULL OR s.start_at < $5)
     ORDER BY s.id, c.position LIMIT 1`,
    [subscription.customerId, subscription.id, meters, new Date(subscription.startMs), dateOrNull(subscription.endMs)],
  )
  return rows.map((row) => ({ externalKey: row.external_key, meter: row.meter }))[0]
}

/** An id wins over an external key that looks like one. */
export async function findSubscription(tx: TenantTransaction, idOrKey: string): Promise<Subscription | undefined> {
  const { rows } = await tx.query<SubscriptionRow>(
    `${SUBSCRIPTION} WHERE s.id = $1::uuid OR s.external_key = $2 ORDER BY s.id = $1::uuid DESC NULLS LAST LIMIT 1`,
    [idOrNull(idOrKey), idOrKey],
  )
  return rows.map(fromRow)[0]
}

export async function findSubscriptionByKey(
  tx: TenantTransaction,
  externalKey: string,
): Promise<Subscription | undefined> {
  const { rows } = await tx.query<SubscriptionRow>(`${SUBSCRIPTION} WHERE s.external_key = $1`, [externalKey])
  return rows.map(fromRow)[0]
}

/** A customer that is not there has no subscriptions. */
export async function listSubscriptions(
  tx: TenantTransaction,
  filter: { customer: string | null },
  page: Page,
): Promise<Subscription[]> {
  const { rows } = await tx.query<SubscriptionRow>(
    `${SUBSCRIPTION}
     WHERE ($1::text IS NULL OR s.customer_id = (
         SELECT c.id FROM customers c WHERE c.id = $2::uuid OR c.external_key = $1
         ORDER BY c.id = $2::uuid DESC NULLS LAST LIMIT 1))
       AND ($3::uuid IS NULL OR s.id > $3)
     ORDER BY s.id LIMIT $4`,
    [filter.customer, idOrNull(filter.customer ?? ''), page.after, page.limit],
  )
  return rows.map(fromRow)
}

function dateOrNull(ms: number | null | undefined): Date | null {
  return ms == null ? null : new Date(ms)
}

function fromRow(row: SubscriptionRow): Subscription {
  const { next_period_start: nextStart, next_period_end: nextEnd } = row
  return {
    id: row.id,
    externalKey: row.external_key,
    customerId: row.customer_id,
    planKey: row.plan_key,
    state: row.state,
    startMs: row.start_at.getTime(),
    endMs: row.end_at === null ? null : row.end_at.getTime(),
    nextPeriod: nextStart && nextEnd && { startMs: nextStart.getTime(), endMs: nextEnd.getTime() },
    createdAtMs: row.created_at.getTime(),
  }
}
