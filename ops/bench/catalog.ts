import { randomBytes } from 'node:crypto'
import type { Pool } from 'pg'
import { putMeter } from '../../aggregator/meters/put-meter.ts'
import { putEventType } from '../../ingest/event-types/put-event-type.ts'
import { putLimit } from '../../ingest/quota/put-limit.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { createKey } from '../access/create-key.ts'
import { putTenant } from '../access/put-tenant.ts'
import { ALL_SUBJECTS, EVENT_SCHEMA, EVENT_TYPE, METERS } from './events.ts'

const TENANT = 'bench'
/** Never reached: a refused event would be cheaper than a taken one. */
const LIMIT = '1000000000000'

const EDGE = ['billing:usage:create', 'billing:usage:read', 'billing:quotas:read']
const BILLING = [
  'billing:plans:create',
  'billing:customers:create',
  'billing:subscriptions:create',
  'billing:invoice-items:create',
  'billing:invoices:read',
  'billing:invoices:update',
]

export type CatalogDeps = { pool: Pool; store: ClickHouseStore; now: () => number }

/** A tenant with an event type and two meters. */
export async function putCatalog(deps: CatalogDeps): Promise<TenantId> {
  const { tenantId } = await putTenant({ slug: TENANT, grantor: 'owner' }, deps.pool)
  await putEventType(deps, tenantId, EVENT_TYPE, EVENT_SCHEMA)
  for (const meter of METERS)
    await putMeter(deps, tenantId, meter, { event_type: EVENT_TYPE, aggregation: 'sum', value: meter })
  return tenantId
}

/** Every subject has a limit on one meter, so every event draws on a quota. Answers a key that may send, ask and bill. */
export async function openEdge(deps: CatalogDeps, tenantId: TenantId): Promise<string> {
  for (const subject of ALL_SUBJECTS)
    await putLimit(deps, tenantId, { subject, meter: METERS[0] ?? '', limit: LIMIT, window: 'month' })
  const wanted = { tenant: TENANT, permissions: [...EDGE, ...BILLING], grantor: 'owner' as const }
  return (await createKey(wanted, deps.pool, randomBytes)).key
}
