import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import type { Interval } from '../../schemas/time/period.ts'
import type { Organization, Subscription } from './organization.ts'

type CustomerRow = { id: string; key: string; zone: string }

/** The customer whose subject a user is. */
export async function customerOfUser(tx: TenantTransaction, user: string): Promise<CustomerRow | undefined> {
  const { rows } = await tx.query<CustomerRow>(
    `SELECT customers.id, external_key AS key, timezone AS zone
     FROM customer_subjects JOIN customers ON customers.id = customer_id WHERE subject = $1`,
    [user],
  )
  return rows[0]
}

/** The same with its subscriptions. */
export async function organizationOfUser(
  tx: TenantTransaction,
  user: string,
  at: Date,
): Promise<Organization | undefined> {
  const customer = await customerOfUser(tx, user)
  return customer && { ...customer, subscriptions: await subscriptionsOf(tx, customer.id, at) }
}

type SubscriptionRow = {
  id: string
  key: string
  plan: string
  plan_name: string
  state: string
  start_at: Date
  end_at: Date | null
  period_interval: Interval
  period_every: number
  alignment: Subscription['alignment']
  anchor_at: Date | null
}

/** Subscriptions of a customer that have not ended, the latest last. */
async function subscriptionsOf(tx: TenantTransaction, customer: string, at: Date): Promise<Subscription[]> {
  const { rows } = await tx.query<SubscriptionRow>(
    `SELECT subscriptions.id, external_key AS key, plans.key AS plan, plans.name AS plan_name, start_at, end_at,
       period_interval, period_every, alignment, phase.anchor_at,
       CASE WHEN state = 'active' AND phase.kind = 'trial' THEN 'trialing'
         WHEN state = 'active' AND phase.kind = 'paused' THEN 'paused' ELSE state END AS state
     FROM subscriptions
     LEFT JOIN LATERAL (
       SELECT phase.plan_id, phase.kind, phase.anchor_at FROM subscription_phases phase
       WHERE subscriptions.revision > 0
         AND phase.subscription_id = subscriptions.id AND phase.revision = subscriptions.revision AND phase.start_at <= $2
       ORDER BY phase.start_at DESC LIMIT 1
     ) AS phase ON true
     JOIN plans ON plans.id = coalesce(phase.plan_id, subscriptions.plan_id)
     WHERE customer_id = $1 AND (end_at IS NULL OR end_at > $2)
     ORDER BY start_at, subscriptions.id`,
    [customer, at],
  )
  return rows.map(
    ({
      plan_name: planName,
      start_at,
      end_at,
      period_interval: interval,
      period_every: every,
      anchor_at,
      ...same
    }) => ({
      ...same,
      ...{ planName, interval, every, startMs: start_at.getTime(), endMs: end_at === null ? null : end_at.getTime() },
      ...(anchor_at === null ? {} : { anchorMs: anchor_at.getTime() }),
    }),
  )
}
