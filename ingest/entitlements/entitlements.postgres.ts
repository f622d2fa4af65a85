import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import type { Interval } from '../../schemas/time/period.ts'
import type { Entitlement, EntitlementKey, HolderKind, StoredEntitlement } from './entitlement.ts'
import type { Customer, Subscribed } from './grants.ts'

type EntitlementRow = { holder_kind: HolderKind; holder: string; feature: string; terms: Entitlement }

/** All of the tenant's, subjects' limits from before entitlements first: under the same name a later one holds. */
export async function readEntitlements(tx: TenantTransaction): Promise<StoredEntitlement[]> {
  const { rows } = await tx.query<EntitlementRow>(
    `SELECT 'subject' AS holder_kind, subject AS holder, meter AS feature, 0 AS later,
       jsonb_build_object('type', 'metered', 'meter', meter, 'limit', limit_quantity::text, 'window', period) AS terms
     FROM quota_limits
     UNION ALL SELECT holder_kind, holder, feature, 1, terms FROM entitlements
     ORDER BY holder_kind, holder, later, feature`,
  )
  return rows.map(({ holder_kind: holderKind, holder, feature, terms }) => {
    return { holderKind, holder, feature, entitlement: terms }
  })
}

/** Those of one holder, by name. */
export async function entitlementsOf(
  tx: TenantTransaction,
  kind: HolderKind,
  holder: string,
): Promise<{ feature: string; entitlement: Entitlement }[]> {
  const { rows } = await tx.query<{ feature: string; entitlement: Entitlement }>(
    `SELECT feature, terms AS entitlement FROM entitlements
     WHERE holder_kind = $1 AND holder = $2 ORDER BY feature`,
    [kind, holder],
  )
  return rows
}

/** How many entitlements a holder has beside one. */
export async function countOthers(
  tx: TenantTransaction,
  { holderKind, holder, feature }: EntitlementKey,
): Promise<number> {
  const { rows } = await tx.query<{ others: number }>(
    `SELECT count(*)::int AS others FROM entitlements WHERE holder_kind = $1 AND holder = $2 AND feature <> $3`,
    [holderKind, holder, feature],
  )
  return rows[0]?.others ?? 0
}

export async function storeEntitlement(
  tx: TenantTransaction,
  { holderKind, holder, feature }: EntitlementKey,
  entitlement: Entitlement,
  at: Date,
): Promise<void> {
  const meter = entitlement.type === 'metered' ? entitlement.meter : null
  await tx.query(
    `INSERT INTO entitlements (tenant_id, holder_kind, holder, feature, meter, terms, updated_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6)
     ON CONFLICT (tenant_id, holder_kind, holder, feature) DO UPDATE
     SET meter = excluded.meter, terms = excluded.terms, updated_at = excluded.updated_at`,
    [holderKind, holder, feature, meter, JSON.stringify(entitlement), at],
  )
}

/** False if there was none. */
export async function removeEntitlement(
  tx: TenantTransaction,
  { holderKind, holder, feature }: EntitlementKey,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    'DELETE FROM entitlements WHERE holder_kind = $1 AND holder = $2 AND feature = $3',
    [holderKind, holder, feature],
  )
  return rowCount === 1
}

/** The customer of every subject that has one. */
export async function readCustomers(tx: TenantTransaction): Promise<Map<string, Customer>> {
  const { rows } = await tx.query<{ subject: string; id: string; key: string }>(
    `SELECT subject, customers.id, external_key AS key
     FROM customer_subjects JOIN customers ON customers.id = customer_id ORDER BY external_key, subject`,
  )
  const customers = new Map<string, Customer>()
  let latest: Customer | undefined
  for (const { subject, id, key } of rows) {
    // One object for all subjects of a customer, which stand together.
    if (latest?.id !== id) latest = { id, key }
    customers.set(subject, latest)
  }
  return customers
}

type SubscriptionRow = {
  customerId: string
  plan: string
  startMs: number
  endMs: number | null
  zone: string
  interval: Interval
  every: number
  alignment: 'calendar' | 'anniversary'
}

/**
 * Subscriptions in force at a time, each with the plan that it is on then, the latest last; behind it its add-ons, with the
 * periods of that plan. A paused one is not.
 */
export async function readSubscriptions(tx: TenantTransaction, at: Date): Promise<Subscribed[]> {
  const { rows } = await tx.query<SubscriptionRow>(
    `SELECT customer_id AS "customerId", held.key AS plan, timezone AS zone, plans.period_interval AS interval,
       plans.period_every AS every, plans.alignment,
       (extract(epoch FROM coalesce(phase.anchor_at, subscriptions.start_at)) * 1000)::float8 AS "startMs",
       (extract(epoch FROM end_at) * 1000)::float8 AS "endMs"
     FROM subscriptions
     LEFT JOIN LATERAL (
       SELECT phase.plan_id, phase.kind, phase.anchor_at, phase.add_ons FROM subscription_phases phase
       WHERE subscriptions.revision > 0
         AND phase.subscription_id = subscriptions.id AND phase.revision = subscriptions.revision AND phase.start_at <= $1
       ORDER BY phase.start_at DESC LIMIT 1
     ) AS phase ON true
     JOIN plans ON plans.id = coalesce(phase.plan_id, subscriptions.plan_id)
     CROSS JOIN LATERAL (
       SELECT plans.key, 0 AS place
       UNION ALL
       SELECT added.key, addon.ordinality FROM jsonb_array_elements(phase.add_ons) WITH ORDINALITY AS addon
       JOIN plans added ON added.id = (addon.value ->> 'planId')::uuid
     ) AS held
     JOIN customers ON customers.id = customer_id
     WHERE state IN ('active', 'past_due', 'cancelled') AND start_at <= $1 AND (end_at IS NULL OR end_at > $1)
       AND phase.kind IS DISTINCT FROM 'paused'
     ORDER BY start_at, subscriptions.id, held.place`,
    [at],
  )
  return rows.map(({ customerId, plan, ...terms }) => ({ customerId, plan, schedule: terms }))
}
