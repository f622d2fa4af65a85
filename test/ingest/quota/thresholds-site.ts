import type { Pool } from 'pg'
import { pino } from 'pino'
import { createConfigCache } from '../../../ingest/accept/config.ts'
import type { Metered } from '../../../ingest/entitlements/entitlement.ts'
import { putEntitlement } from '../../../ingest/entitlements/put-entitlement.ts'
import { drawsFor } from '../../../ingest/quota/limit-draws.ts'
import type { CounterKey, QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { limitsOf } from '../../../ingest/quota/standing.ts'
import type { AlertAnswer } from '../../../ingest/quota/thresholds/alert.ts'
import { readAlerts } from '../../../ingest/quota/thresholds/read-alerts.ts'
import { createThresholdWatch, type ThresholdWatch } from '../../../ingest/quota/thresholds/watch.ts'
import { whenLoaded } from '../../../ingest/quota/when-loaded.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { type EmbeddedLog, openEmbeddedLog } from '../../support/embedded-stores.ts'
import { METERING_NOW } from '../../support/metering.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'

const UNIT = 1_000_000n
const logger = pino({ level: 'silent' })

/** Postgres and counters, and what ingest does with them when it draws, without the rest of it. */
export type Site = {
  database: TestDatabase
  log: EmbeddedLog
  clock: { nowMs: number }
  config: ReturnType<typeof createConfigCache>
  /** A tenant with the meter `tokens`. */
  tenant(): Promise<number>
  /** Entitles; a subject if not said otherwise. */
  entitle(tenant: number, holder: string, limit: string, change?: Partial<Metered> & Entitled): Promise<void>
  /** One process that watches. */
  open(change?: { pool?: Pool; quota?: QuotaStore; mostStopMs?: number }): Watching
  alerts(tenant: number): Promise<AlertAnswer[]>
  /** Levels that were told, the first one first: `customer-1 80% at 812 of 1000`. */
  told(tenant: number): Promise<string[]>
  close(): Promise<void>
}
type Entitled = { kind?: 'subject' | 'customer' | 'plan'; feature?: string }

export type Watching = {
  watch: ThresholdWatch
  /** What it told of, after which it was durable. */
  fired: AlertAnswer[]
  /** Draws for one event, and tells the watch as the accept does; answers whether it was taken. */
  use(tenant: number, tokens: bigint | number, subject?: string): Promise<boolean>
}

let events = 0

export async function openSite(): Promise<Site> {
  const clock = { nowMs: METERING_NOW }
  const now = () => clock.nowMs
  const [database, log] = await Promise.all([createTestDatabase(), openEmbeddedLog(now)])
  const { pool } = database
  const config = createConfigCache({ pool, now, defaultPlan: 'basic' })
  const alerts = (tenantId: number) => readAlerts(pool, { tenantId, scope: 'everything' }, { limit: 1_000 })
  return {
    ...{ database, log, clock, config, alerts },
    tenant: async () => {
      const tenant = await database.createTenant(`t-${Math.random().toString(36).slice(2)}`)
      await withTenant(pool, tenant, (tx) =>
        tx.query(
          `INSERT INTO meters (tenant_id, slug, event_type, aggregation, value_path, group_by, revision, updated_at)
           VALUES (app_tenant(), 'tokens', 'llm.request', 'sum', '{tokens}', '[]', 1, now())`,
        ),
      )
      return tenant
    },
    entitle: async (tenant, holder, limit, { kind = 'subject', feature = 'tokens', ...change } = {}) => {
      const terms = { type: 'metered' as const, meter: 'tokens', limit, window: 'month' as const, ...change }
      await putEntitlement({ pool, now }, tenant, { holderKind: kind, holder, feature }, terms)
      config.invalidate(tenant)
    },
    open: ({ pool: other = pool, quota = log.quota, mostStopMs } = {}) => {
      const loadCounters = (counters: readonly CounterKey[]) =>
        quota.load(
          counters.map((counter) => ({ counter, usedMicro: 0n })),
          now(),
        )
      const fired: AlertAnswer[] = []
      const watch = createThresholdWatch(
        {
          ...{ pool: other, config, quota, loadCounters, now, logger },
          fired: (_tenant, all) => fired.push(...all),
        },
        mostStopMs,
      )
      return {
        watch,
        fired,
        use: async (tenant, tokens, subject = 'customer-1') => {
          const limits = limitsOf(await config.get(tenant), tenant, subject, now())
          const draws = drawsFor(limits, BigInt(tokens) * UNIT)
          const items = [{ identity: `e-${events++}`, draws }]
          const { decisions } = await whenLoaded(loadCounters, () => quota.draw(items, now(), true))
          watch.drew(items, decisions)
          return decisions[0]?.taken === true
        },
      }
    },
    told: async (tenant) =>
      (await alerts(tenant))
        .toReversed()
        .map(({ subject, customer, level, used, limit }) => `${subject ?? customer} ${level} at ${used} of ${limit}`),
    close: async () => {
      await log.close()
      await database.drop()
    },
  }
}
