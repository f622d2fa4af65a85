import type { Pool } from 'pg'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { ClickHouseStore } from '../schemas/clickhouse/store.ts'
import type { App, TenantId } from '../schemas/http/door.ts'
import { listTenants } from '../schemas/postgres/tenant.postgres.ts'
import { metersDoor } from './doors/meters.http.ts'
import { openmeterDoors } from './doors/openmeter/openmeter.http.ts'
import { troublesDoor } from './doors/troubles.http.ts'
import { usageDoor } from './doors/usage.http.ts'
import { syncMeters } from './meters/put-meter.ts'
import type { EventLogReader } from './pump/event-log.ts'
import { createPump } from './pump/pump.ts'
import { cleanTenant } from './rebuild/rebuild.ts'
import { createTenantsDue, rebuildDue } from './rebuild/tenants-due.ts'
import { answerSealRequests } from './seal/seal.ts'
import { createConflictGauge } from './usage/conflict-gauge.prometheus.ts'
import { createWorker } from './worker.ts'

export type AggregatorDeps = {
  app: App
  pool: Pool
  /** Of the pump, rebuilds and seals. */
  store: ClickHouseStore
  /** Of whoever asks: they never keep the others waiting. */
  reads: ClickHouseStore
  reader: EventLogReader
  /** Of logs that the present one followed: their rest is read, and what late writers still append. */
  endedReaders?: readonly EventLogReader[]
  logger: Logger
  metrics: Registry
  now: () => number
  random20: () => number
}

export type Aggregator = {
  start(): Promise<void>
  stop(): Promise<void>
  configChanged(table: string, tenant: TenantId): void
  /** Ready means that events get on into usage. */
  check(): Promise<{ ok: boolean; detail: string }>
}

type TenantWork = (tenant: TenantId, slug: string) => Promise<unknown>

const SEAL_EVERY_MS = 2_000
const REBUILD_EVERY_MS = 5_000
/** Tenants of whom nothing was stored here are looked at as well. */
const REBUILD_EVERYONE_EVERY_MS = 60_000
const CONFLICTS_EVERY_MS = 60_000
/** What ClickHouse was away for is copied then. */
const SYNC_METERS_EVERY_MS = 15_000
const CLEAN_EVERY_MS = 10 * 60_000
/** Longer without progress of the pump than this is not ready. */
const STALLED_MS = 10_000

export function buildAggregator(deps: AggregatorDeps): Aggregator {
  const { app, pool, store, reads, reader, endedReaders = [], logger, metrics, now } = deps
  const due = createTenantsDue(now, REBUILD_EVERYONE_EVERY_MS)
  const pumps = [reader, ...endedReaders].map((one) =>
    createPump({ reader: one, store, logger, now, onStored: due.changed }),
  )
  let stopping = false
  let started = false
  const sealDeps = { pool, store, reader, endedReaders, now, stopping: () => stopping }
  /** One tenant's trouble must not keep the others waiting. */
  const forEachTenant =
    (name: string, work: TenantWork, among = (all: TenantId[]) => all) =>
    async () => {
      const tenants = await listTenants(pool)
      const wanted = new Set(among(tenants.map(({ tenantId }) => tenantId)))
      for (const { tenantId, slug } of tenants.filter(({ tenantId }) => wanted.has(tenantId))) {
        if (stopping) return
        await work(tenantId, slug).catch((error: unknown) =>
          logger.error({ error, tenant: tenantId }, `${name} failed; tried again`),
        )
      }
    }
  let cleanedMs = now()
  // A run between its rows and its heads looks like one that lost; here and elsewhere only its age tells them apart.
  const rebuild = async (): Promise<void> => {
    await forEachTenant('rebuild', (tenant) => rebuildDue(deps, due, tenant), due.take)()
    if (now() - cleanedMs < CLEAN_EVERY_MS) return
    cleanedMs = now()
    await forEachTenant('clean', (tenant) => cleanTenant(deps, tenant))()
  }
  const conflicts = createConflictGauge({ store: reads, metrics, now, stopping: () => stopping })
  const workers = [
    createWorker(
      'seal',
      forEachTenant('seal', (tenant) => answerSealRequests(sealDeps, tenant)),
      SEAL_EVERY_MS,
      logger,
    ),
    createWorker('rebuild', rebuild, REBUILD_EVERY_MS, logger),
    createWorker('meters', () => syncMeters({ pool, store, now }), SYNC_METERS_EVERY_MS, logger),
    createWorker('conflicts', forEachTenant('conflicts', conflicts.refresh), CONFLICTS_EVERY_MS, logger),
  ] as const
  metersDoor(app, { pool, store, now })
  openmeterDoors(deps)
  usageDoor(app, { pool, store: reads })
  troublesDoor(app, { store, reads, now })
  return {
    start: async () => {
      await syncMeters({ pool, store, now })
      for (const pump of pumps) await pump.start()
      for (const worker of workers) worker.start()
      started = true
    },
    stop: async () => {
      stopping = true
      await Promise.all(workers.map((worker) => worker.stop()))
      await Promise.all(pumps.map((pump) => pump.stop()))
    },
    configChanged: (table) => {
      if (table === 'seal_requests' || table === '*') workers[0].wake()
      if (table === 'meters' || table === '*') due.everyone()
    },
    check: async () => {
      const idleMs = now() - Math.min(...pumps.map((pump) => pump.lastProgressMs()))
      return { ok: started && idleMs < STALLED_MS, detail: `last progress ${idleMs} ms ago` }
    },
  }
}
