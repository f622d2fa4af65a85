import { randomInt } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { queryUsage } from '../../../aggregator/usage/query-usage.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import { openPool } from '../../access/pool.postgres.ts'
import { openChdb } from '../../embedded/chdb.clickhouse.ts'
import { createLogger } from '../../host/logger.ts'
import { migrateClickHouse } from '../../migrate/migrate.clickhouse.ts'
import { migratePostgres } from '../../migrate/migrate.postgres.ts'
import { putCatalog } from '../catalog.ts'
import { ownCpuUs } from '../cpu.ts'
import { startPostgres } from '../embedded-postgres.ts'
import { METERS } from '../events.ts'
import { CUSTOMER_PREFIX, CUSTOMERS, eventsOfCustomer, SPAN_MS, type Span } from './span.ts'

/** Embedded stores of usage with the product's own rebuilds and queries on them, and nothing that runs by itself. */
export type HistoryWorld = { store: ClickHouseStore; pool: Pool; tenantId: TenantId; close(): Promise<void> }
export type Cost = { cpuUs: number; wallMs: number }

const CONNECTIONS = 2
/** A later change of a shard waits for this long in the product: here its clock is ahead by it. */
const AHEAD_MS = 120_000
const MERGED_WITHIN_MS = 15 * 60_000

export async function openHistoryWorld(folder: string): Promise<HistoryWorld> {
  const postgres = await startPostgres(folder)
  await migratePostgres(postgres.url)
  const pool = openPool(postgres.url, CONNECTIONS, () => undefined)
  const store = await openChdb(join(folder, 'clickhouse'), CONNECTIONS)
  await migrateClickHouse(store)
  const tenantId = await putCatalog({ pool, store, now: Date.now })
  const close = async () => {
    await pool.end()
    await store.close()
    await postgres.stop()
  }
  return { store, pool, tenantId, close }
}

/** Until no shard is dirty; answers how many were rebuilt. */
export async function rebuildAll(store: ClickHouseStore, tenantId: TenantId): Promise<number> {
  const deps = { store, logger: createLogger(), now: () => Date.now() + AHEAD_MS, random20: () => randomInt(2 ** 20) }
  let shards = 0
  for (let rebuilt = -1; rebuilt !== 0; shards += rebuilt) rebuilt = await rebuildTenant(deps, tenantId)
  return shards
}

/** Merges would be charged to what happens to run beside them, by the size of parts that are old. */
export async function withoutMerges<T>(store: ClickHouseStore, work: () => Promise<T>): Promise<T> {
  await store.command('SYSTEM STOP MERGES')
  try {
    return await work()
  } finally {
    await store.command('SYSTEM START MERGES')
  }
}

/** What merges in the background would be charged to whatever is measured meanwhile. */
export async function untilMerged(store: ClickHouseStore): Promise<void> {
  for (const endMs = Date.now() + MERGED_WITHIN_MS; Date.now() < endMs; await sleep(500)) {
    const [row] = await store.query<{ merges: string }>('SELECT toString(count()) AS merges FROM system.merges')
    if (row?.merges === '0') return
  }
}

export async function bytesOnDisk(store: ClickHouseStore): Promise<number> {
  const [row] = await store.query<{ bytes: string }>(
    'SELECT toString(sum(bytes_on_disk)) AS bytes FROM system.parts WHERE active',
  )
  return Number(row?.bytes)
}

export async function costOf<T>(work: () => Promise<T>): Promise<Cost & { answer: T }> {
  const startedUs = ownCpuUs()
  const startedMs = performance.now()
  const answer = await work()
  return { answer, cpuUs: ownCpuUs() - startedUs, wallMs: performance.now() - startedMs }
}

/** Asks for the span's month, another customer each time, and for nothing that is not counted right. */
export async function askMonths({ pool, store, tenantId }: HistoryWorld, span: Span, queries: number): Promise<Cost[]> {
  const reader = { tenantId, scope: 'everything' as const }
  const month = { fromMs: span.fromMs, toMs: span.fromMs + SPAN_MS, groupBy: [], timezone: 'UTC' }
  const costs: Cost[] = []
  for (let query = 0; query < queries; query++) {
    const customer = (query * 37) % CUSTOMERS
    const input = { ...month, meter: METERS[0] ?? '', subject: `${CUSTOMER_PREFIX}${customer}` }
    const { answer, ...cost } = await costOf(() => queryUsage({ pool, store }, reader, input))
    const wanted = eventsOfCustomer(span, customer)
    if (answer.total.events !== wanted)
      throw new Error(`Customer ${customer} used ${answer.total.events} events in the month instead of ${wanted}`)
    costs.push(cost)
  }
  return costs
}
