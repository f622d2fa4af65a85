import { randomUUID } from 'node:crypto'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Json, Metering, Tenant } from '../../support/metering.ts'

const CONVERSATION = {
  type: 'record',
  name: 'Conversation',
  fields: [
    { name: 'minutes', type: { type: 'bytes', logicalType: 'decimal', precision: 38, scale: 12 } },
    { name: 'channel', type: 'string', default: 'app' },
  ],
}

/** A tenant whose events of the type `conversation` have minutes, which two meters count. */
export async function openClinic(metering: Metering, slug: string): Promise<Tenant> {
  const tenant = await metering.tenant(slug)
  const meter = { event_type: 'conversation' }
  await tenant.call('PUT', '/event-types/conversation', { schema: CONVERSATION })
  await tenant.call('PUT', '/meters/conversation_minutes', { ...meter, aggregation: 'sum', value: 'minutes' })
  await tenant.call('PUT', '/meters/conversations', { ...meter, aggregation: 'count' })
  return tenant
}

/** What tests ask of the doors of HC-1 and HC-2. */
export function billingCalls(tenant: () => Tenant) {
  return {
    use: (quantity: unknown, change: Json = {}, key?: string, by = tenant()) =>
      by.call(
        'POST',
        '/billing/usage',
        { user_id: 'user-1', usage_type: 'conversation_minutes', quantity, ...change },
        key === undefined ? {} : { 'idempotency-key': key },
      ),
    /** A limit on minutes a month for everybody on a plan; `basic` is the default tier. */
    limit: (limit: string, change: Json = {}, plan = 'basic', feature = 'minutes') =>
      tenant().call('PUT', `/entitlements/plan/${plan}/${feature}`, {
        ...{ type: 'metered', meter: 'conversation_minutes', limit, window: 'month' },
        ...change,
      }),
    quota: (user: string, by = tenant()) => by.call('GET', `/billing/quota/${user}`),
    subscription: (user: string, by = tenant()) => by.call('GET', `/billing/subscription/${user}`),
  }
}

/** A subscription of a customer to a plan of its own, monthly unless said otherwise, as the invoicer would store them; answers its id. */
export async function subscribe(
  { database: { pool } }: Metering,
  tenant: Tenant,
  customer: string,
  plan: string,
  startAt: string,
  { endAt = null as string | null, alignment = 'calendar', interval = 'month', every = 1 } = {},
): Promise<string> {
  const [planId, id] = [randomUUID(), randomUUID()]
  await withTenant(pool, tenant.id, async (tx) => {
    await tx.query(
      `INSERT INTO plans
         (tenant_id, id, key, name, currency, period_interval, period_every, alignment, grace_seconds, created_at)
       VALUES (app_tenant(), $1, $2, $3, 'EUR', $5, $6, $4, 0, now())`,
      [planId, plan, `The ${plan} plan`, alignment, interval, every],
    )
    await tx.query(
      `INSERT INTO subscriptions (tenant_id, id, external_key, customer_id, plan_id, state, start_at, end_at, created_at)
       VALUES (app_tenant(), $1, $2, $3, $4, 'active', $5, $6, now())`,
      [id, `on-${plan}`, customer, planId, startAt, endAt],
    )
  })
  return id
}
