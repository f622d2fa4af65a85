import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { Registry } from 'prom-client'
import { buildAggregator } from '../../aggregator/aggregator.ts'
import { createPump } from '../../aggregator/pump/pump.ts'
import type { EventLogWriter } from '../../ingest/append/event-log.ts'
import { createLmdbBillingCache } from '../../ingest/billing-cache/billing-cache.lmdb.ts'
import { buildIngest, type Ingest, type IngestDeps } from '../../ingest/ingest.ts'
import { withRawBodies } from '../../ops/host/bodies.ts'
import { buildHost } from '../../ops/host/server.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { storedEnds } from '../../schemas/clickhouse/stored-ends.clickhouse.ts'
import type { App, Caller } from '../../schemas/http/door.ts'
import { PERMISSIONS, type Permission, SCOPED_PERMISSIONS } from '../../schemas/http/permissions.ts'
import type { Scope } from '../../schemas/http/scope.ts'
import { type EmbeddedLog, openEmbeddedLog, openUsageStore, PARTITIONS } from './embedded-stores.ts'
import { createTestDatabase, type TestDatabase } from './test-database.ts'

export type Json = Record<string, unknown>
export type Answer = { status: number; headers: Record<string, unknown>; body: Json }
export type Tenant = {
  id: number
  /** Calls the API with the tenant's key; an object is sent as JSON. */
  call(
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    url: string,
    payload?: object,
    headers?: Record<string, string>,
  ): Promise<Answer>
  /** Sends a body as it is. */
  send(body: string | Buffer, headers?: Record<string, string>): Promise<Answer>
}
export type Metering = {
  database: TestDatabase
  log: EmbeddedLog
  store: ClickHouseStore
  app: App
  ingest: Ingest
  /** Stands still unless a test moves it. */
  clock: { nowMs: number }
  tenant(slug: string, permissions?: readonly Permission[], operator?: boolean): Promise<Tenant>
  /** Another key `Bearer <name>` of the tenant, which sees a part of it (HC-8). */
  scopedKey(tenant: Tenant, name: string, scope: Scope, permissions?: readonly Permission[]): Tenant
  /** Resolves when everything in the log is in usage. */
  settled(): Promise<void>
  close(): Promise<void>
}

export const LLM_SCHEMA = {
  type: 'record',
  name: 'LlmRequest',
  fields: [
    { name: 'tokens', type: 'long' },
    { name: 'model', type: 'string', default: 'small' },
    { name: 'cost', type: ['null', { type: 'bytes', logicalType: 'decimal', precision: 20, scale: 9 }], default: null },
  ],
}
/** Of metering's clock when it opens. */
export const METERING_NOW = Date.UTC(2026, 10, 20, 12)

/**
 * Ingest, pump and the doors of both roles behind the real host, on real stores. Keys are `Bearer <tenant's slug>`.
 * The aggregator's timers do not run: tests call rebuilds and seals when they want them.
 */
export async function openMetering(
  wrap: (writer: EventLogWriter) => EventLogWriter = (same) => same,
  change: Partial<Pick<IngestDeps, 'enforceQuota' | 'allowPrivateWebhooks' | 'mail' | 'logger'>> = {},
) {
  const clock = { nowMs: METERING_NOW }
  const now = () => clock.nowMs
  const [database, log, store] = await Promise.all([createTestDatabase(), openEmbeddedLog(now), openUsageStore()])
  const callers = new Map<string | undefined, Caller>()
  const logger = pino({ level: 'silent' })
  const metrics = new Registry()
  const authenticate = async (header: string | undefined) => callers.get(header)
  const app = await buildHost({ logger, metrics, authenticate, version: '0' })
  const { pool } = database
  const writer = wrap(log.writer)
  const { quota, reader } = log
  const enforceQuota = true
  const ingest = buildIngest({
    app,
    withRawBodies,
    pool,
    writer,
    quota,
    billingCache: createLmdbBillingCache(log.lmdb.quota, now),
    usage: store,
    enforceQuota,
    defaultPlan: 'basic',
    logger,
    metrics,
    now,
    ...change,
  })
  buildAggregator({ app, pool, store, reads: store, reader, logger, metrics, now, random20: () => 1 })
  const pump = createPump({ reader, store, logger, now })
  await pump.start()
  await app.ready()
  const metering: Metering = {
    database,
    log,
    store,
    app,
    ingest,
    clock,
    tenant: async (slug, permissions = PERMISSIONS, operator = false) => {
      const tenantId = await database.createTenant(slug)
      callers.set(`Bearer ${slug}`, {
        tenantId,
        tenantSlug: slug,
        keyId: slug,
        operator,
        permissions: new Set(permissions),
        scope: 'everything',
      })
      return tenantOf(app, tenantId, slug)
    },
    scopedKey: (tenant, name, scope, permissions = SCOPED_PERMISSIONS) => {
      const key = { keyId: name, operator: false, permissions: new Set(permissions), scope }
      callers.set(`Bearer ${name}`, { tenantId: tenant.id, tenantSlug: name, ...key })
      return tenantOf(app, tenant.id, name)
    },
    settled: async () => {
      const ends = await log.reader.ends()
      for (;;) {
        const stored = await storedEnds(store, log.lmdb.logId, PARTITIONS)
        if (ends.every((end, partition) => (stored[partition] ?? 0) >= end)) return
        await sleep(5)
      }
    },
    close: async () => {
      await app.close()
      await ingest.stop()
      await pump.stop()
      await store.close()
      await log.close()
      await database.drop()
    },
  }
  return metering
}

function tenantOf(app: App, id: number, slug: string): Tenant {
  const authorization = `Bearer ${slug}`
  const answerOf = (response: Awaited<ReturnType<App['inject']>>): Answer => ({
    status: response.statusCode,
    headers: response.headers,
    body: response.body === '' ? {} : response.json(),
  })
  return {
    id,
    call: async (method, url, payload, headers = {}) =>
      answerOf(
        await app.inject({
          method,
          url: `/api/v1${url}`,
          headers: { authorization, ...headers },
          ...(payload === undefined ? {} : { payload }),
        }),
      ),
    send: async (payload, headers = {}) =>
      answerOf(
        await app.inject({
          method: 'POST',
          url: '/api/v1/events',
          headers: { authorization, 'content-type': 'application/json', ...headers },
          payload,
        }),
      ),
  }
}

/** A CloudEvent as an emitter would send it. */
export function cloudEvent(id: string, data: Json = { tokens: 1 }, change: Json = {}): Json {
  return { specversion: '1.0', id, source: 'test', type: 'llm.request', subject: 'customer-1', data, ...change }
}
