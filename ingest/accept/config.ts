import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { type TenantTransaction, withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { readCustomers, readEntitlements, readSubscriptions } from '../entitlements/entitlements.postgres.ts'
import { type Customer, createGrants, type Grants, needsCustomers } from '../entitlements/grants.ts'
import { compileEventType, type EventType } from '../event-types/avro-schema.ts'
import { listEventTypes } from '../event-types/event-type.postgres.ts'
import { groupBy } from '../group-by.ts'
import type { QuotaLimit } from '../quota/limit.ts'
import { readSettings } from '../settings/settings.postgres.ts'
import { readMeters } from './config.postgres.ts'
import { type EdgeMeter, edgeMeterOf } from './meter-value.ts'

/** What the edge knows of a tenant. Never changed in place: a refresh makes a new one. */
export type TenantConfig = {
  types: ReadonlyMap<string, EventType>
  metersOfType: ReadonlyMap<string, readonly EdgeMeter[]>
  /** What a subject may use; `limitsOf` is the part of it that events are asked about. */
  grantsOf: (subject: string) => Grants
  limitsOf: (subject: string) => readonly QuotaLimit[]
  /** The door for emitters of OpenMeter takes types that nobody registered. */
  openTypes?: boolean
  loadedAtMs: number
}

export type ConfigCache = {
  /** The tenant's configuration, at most 10 s old while Postgres answers; older when it is away. */
  get(tenant: TenantId): Promise<TenantConfig>
  /** As `get`, but loaded after `sinceMs`: asked before something is refused as unknown. */
  atLeast(tenant: TenantId, sinceMs: number): Promise<TenantConfig>
  /** Forget: for the tenant, or for all. The next `get` loads. */
  invalidate(tenant?: TenantId): void
}

type Loading = { startedMs: number; config: Promise<TenantConfig> }

const FRESH_MS = 10_000
/** So long before it is too old it is read again, and nobody waits for that while requests come. */
const AHEAD_MS = 2_000

/** `defaultPlan`: whose entitlements hold for subjects without a subscription. */
export function createConfigCache(deps: { pool: Pool; now: () => number; defaultPlan: string }): ConfigCache {
  const known = new Map<TenantId, TenantConfig>()
  const stale = new Set<TenantId>()
  const loading = new Map<TenantId, Loading>()

  const load = async (tenant: TenantId, loadedAtMs: number, isLatest: () => boolean): Promise<TenantConfig> => {
    try {
      const config = await withTenant(deps.pool, tenant, async (tx) => ({
        types: new Map(
          (await listEventTypes(tx)).map((row) => [row.type, compileEventType(row.schema, row.unknown_fields)]),
        ),
        metersOfType: groupBy((await readMeters(tx)).map(edgeMeterOf), (meter) => meter.eventType),
        ...(await readGrants(tx, loadedAtMs, deps.defaultPlan)),
        openTypes: (await readSettings(tx)).openmeter_open_types,
        loadedAtMs,
      }))
      // One that was overtaken may have read what was there before a change.
      if (isLatest()) {
        known.set(tenant, config)
        stale.delete(tenant)
      }
      return config
    } catch (cause) {
      // Postgres is away: go on with what is known, and ask again at the next request.
      const before = known.get(tenant)
      stale.add(tenant)
      if (before) return before
      throw new Problem('unavailable', 'The configuration cannot be read: try again', { cause })
    }
  }

  /** Joins a load under way, unless it began before `sinceMs`; one from before a change was forgotten by `invalidate`. */
  const loadOnce = (tenant: TenantId, sinceMs: number): Promise<TenantConfig> => {
    const already = loading.get(tenant)
    if (already && already.startedMs >= sinceMs) return already.config
    const startedMs = deps.now()
    const isLatest = () => loading.get(tenant)?.config === config
    const config = load(tenant, startedMs, isLatest).finally(() => {
      if (isLatest()) loading.delete(tenant)
    })
    loading.set(tenant, { startedMs, config })
    return config
  }

  const atLeast: ConfigCache['atLeast'] = async (tenant, sinceMs) => {
    const config = known.get(tenant)
    return config && !stale.has(tenant) && config.loadedAtMs >= sinceMs ? config : loadOnce(tenant, sinceMs)
  }
  const get: ConfigCache['get'] = (tenant) => {
    const sinceMs = deps.now() - FRESH_MS
    const config = known.get(tenant)
    const isFresh = config && !stale.has(tenant) && config.loadedAtMs >= sinceMs
    if (isFresh && config.loadedAtMs < sinceMs + AHEAD_MS) loadOnce(tenant, sinceMs).catch(() => undefined)
    return atLeast(tenant, sinceMs)
  }
  return {
    get,
    atLeast,
    invalidate: (tenant) => {
      for (const each of tenant === undefined ? [...known.keys(), ...loading.keys()] : [tenant]) {
        stale.add(each)
        loading.delete(each)
      }
    },
  }
}

async function readGrants(
  tx: TenantTransaction,
  nowMs: number,
  defaultPlan: string,
): Promise<Pick<TenantConfig, 'grantsOf' | 'limitsOf'>> {
  const entitlements = await readEntitlements(tx)
  const isOfMany = entitlements.some(needsCustomers)
  const customerOf = isOfMany ? await readCustomers(tx) : new Map<string, Customer>()
  const subscriptions = isOfMany ? await readSubscriptions(tx, new Date(nowMs)) : []
  const grantsOf = createGrants({ entitlements, customerOf, subscriptions, defaultPlan })
  return { grantsOf, limitsOf: (subject) => grantsOf(subject).limits }
}
