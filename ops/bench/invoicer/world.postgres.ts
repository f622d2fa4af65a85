import { randomInt } from 'node:crypto'
import pg, { type Pool } from 'pg'
import { Registry } from 'prom-client'
import { insertMeter, insertVersion } from '../../../aggregator/meters/meter.postgres.ts'
import { defineMeter } from '../../../aggregator/meters/meter.ts'
import { createCustomer } from '../../../invoicer/agreements/customers/create-customer.ts'
import { type CreateLegalEntity, createLegalEntity } from '../../../invoicer/agreements/entities/create-legal-entity.ts'
import { type CreatePlan, createPlan } from '../../../invoicer/agreements/plans/create-plan.ts'
import { createSubscription } from '../../../invoicer/agreements/subscriptions/create-subscription.ts'
import { checkBillable } from '../../../invoicer/billing/rating/check-price.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'
import type { RunDeps } from '../../../invoicer/billing/run/run-billing.ts'
import type { IdentityTotals } from '../../../invoicer/billing/usage.ts'
import { collectionForBilling } from '../../../invoicer/collection/for-billing.ts'
import { collectPayments } from '../../../invoicer/collection/payments/collect-payments.ts'
import { manualGateway } from '../../../invoicer/collection/payments/gateway.manual.ts'
import { announceTo } from '../../../invoicer/outbox/announce.prometheus.ts'
import type { Means, Transact } from '../../../invoicer/transaction.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { putTenant } from '../../access/put-tenant.ts'
import { createLogger } from '../../host/logger.ts'
import { createIds } from '../../host/new-ids.ts'
import { migratePostgres } from '../../migrate/migrate.postgres.ts'
import { EVENT_TYPE, METERS } from '../events.ts'

export const PLAN: CreatePlan<Price> = {
  key: 'bench',
  name: 'Bench',
  currency: 'USD',
  interval: 'month',
  alignment: 'calendar',
  graceSeconds: 3600,
  fees: 'in_arrears',
  charges: [
    { key: 'base', name: 'Base fee', meter: null, price: { model: 'flat', amount: '20.00' } },
    {
      key: 'context',
      name: 'Context tokens',
      meter: METERS[0] ?? null,
      price: {
        model: 'graduated',
        tiers: [
          { up_to: '200000', unit_amount: '0.000003' },
          { up_to: null, unit_amount: '0.000002' },
        ],
      },
    },
    {
      key: 'generated',
      name: 'Generated tokens',
      meter: METERS[1] ?? null,
      price: {
        model: 'graduated',
        tiers: [
          { up_to: '100000', unit_amount: '0.000015' },
          { up_to: null, unit_amount: '0.000012' },
        ],
      },
    },
  ],
}
export const LINES = PLAN.charges.length

/** As the invoicer's own. */
export const CHUNK_SIZE = 1_000

/** A tenant whose number no other figure on the same ClickHouse has. */
export async function createTenant(pool: Pool, ownerUrl: string): Promise<TenantId> {
  const owner = new pg.Client({ connectionString: ownerUrl })
  await migratePostgres(ownerUrl)
  await owner.connect()
  await owner.query(`ALTER TABLE tenants ALTER COLUMN tenant_id RESTART WITH ${randomInt(1_000_000, 800_000_000)}`)
  await owner.end()
  return (await putTenant({ slug: 'bench', grantor: 'owner' }, pool)).tenantId
}

/** A seller who taxes what it sells at home. */
const SELLER = {
  ...{ key: 'bench', name: 'Bench', country: 'DE', address: null, defaultCurrency: null, numberPrefix: 'B' },
  registrations: [{ country: 'DE', number: 'DE123456789' }],
  tax: { enabled: true, engine: 'embedded', rounding: 'per_line', inclusive: false, euConsumers: 'destination' },
} as const satisfies CreateLegalEntity
const ADDRESS = { line1: null, line2: null, city: null, region: null, postalCode: null, country: 'DE' }

export type Subscriber = { subject: string; startMs: number }

/** Meters, a plan with three lines, who taxes them, and customers with one subject and one subscription each. */
export async function subscribeAll(
  transact: Transact,
  means: Means,
  tenantId: TenantId,
  subscribers: readonly Subscriber[],
): Promise<void> {
  await transact(tenantId, async (tx) => {
    for (const meter of METERS) {
      const definition = defineMeter(meter, { event_type: EVENT_TYPE, aggregation: 'sum', value: meter })
      const at = new Date(means.now())
      const revision = await insertMeter(tx, definition, at)
      await insertVersion(tx, definition, { version: 1, effectiveFromMs: 0, revision }, at)
    }
    await createPlan(tx, PLAN, checkBillable, means)
    await createLegalEntity(tx, { ...SELLER, registrations: [...SELLER.registrations] }, means)
  })
  const terms = { planKey: PLAN.key, endMs: null }
  const about = { name: null, email: null, currency: 'USD', timezone: 'UTC', billingAddress: ADDRESS }
  for (let first = 0; first < subscribers.length; first += CHUNK_SIZE) {
    await transact(tenantId, async (tx) => {
      for (const { subject, startMs } of subscribers.slice(first, first + CHUNK_SIZE)) {
        await createCustomer(tx, { ...about, externalKey: subject, subjects: [subject] }, means)
        await createSubscription(tx, { externalKey: subject, customer: subject, startMs, ...terms }, means)
      }
    })
  }
}

/** The invoicer's parts as `buildInvoicer` puts them together, with a clock of our own. */
export function createRunDeps(pool: Pool, now: () => number): Omit<RunDeps, 'usage' | 'sleep'> {
  const transact: Transact = (tenant, work) => withTenant(pool, tenant, work)
  const announce = announceTo(createLogger(), new Registry())
  const shared = { transact, now, newId: createIds(now), announce, stopping: () => false, chunkSize: CHUNK_SIZE }
  return {
    ...shared,
    sealWait: { pollMs: 1, polls: 3 },
    ...collectionForBilling(shared),
    collect: (tenant, runId, progress) =>
      collectPayments({ ...shared, gateway: manualGateway }, progress, tenant, runId),
  }
}

/** The aggregator's part. */
export async function answerSeals(transact: Transact, tenantId: TenantId, totals: IdentityTotals): Promise<void> {
  await transact(tenantId, (tx) =>
    tx.query(
      `INSERT INTO seals (tenant_id, seal_id, known_before, log_offsets, event_count, digest, sealed_at)
       SELECT tenant_id, seal_id, known_before, '{}', $1, $2, now() FROM seal_requests ON CONFLICT DO NOTHING`,
      [totals.events, totals.digest],
    ),
  )
}
