import { Gauge, type Registry } from 'prom-client'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { changedShards, countConflicts } from './lists.clickhouse.ts'

export type ConflictGauge = { refresh(tenant: TenantId, slug: string): Promise<void> }

/** Counted in one statement at most; a shard holds about 10,000 events. */
const SHARDS_AT_ONCE = 200

/**
 * How many identities of each tenant came with contradicting payloads, counted anew for the shards that changed since
 * the hour of the last refresh; the first one counts all. Only shards with conflicts are remembered. Every process
 * counts the same: do not add them up.
 */
export function createConflictGauge(deps: {
  store: ClickHouseStore
  metrics: Registry
  now: () => number
  stopping: () => boolean
}): ConflictGauge {
  const gauge = new Gauge({
    name: 'billing_event_conflicts',
    help: 'Events that came with more than one payload: the first counts, the others are listed',
    labelNames: ['tenant'],
    registers: [deps.metrics],
  })
  const tenants = new Map<TenantId, { conflictsOf: Map<number, number>; countedMs: number }>()
  return {
    refresh: async (tenant, slug) => {
      const nowMs = deps.now()
      const known = tenants.get(tenant) ?? { conflictsOf: new Map<number, number>(), countedMs: 0 }
      const shards = await changedShards(deps.store, tenant, known.countedMs)
      for (let from = 0; from < shards.length; from += SHARDS_AT_ONCE) {
        if (deps.stopping()) return
        const part = shards.slice(from, from + SHARDS_AT_ONCE)
        const counted = await countConflicts(deps.store, tenant, part)
        for (const shard of part) known.conflictsOf.delete(shard)
        for (const [shard, conflicts] of counted) known.conflictsOf.set(shard, conflicts)
      }
      // An hour back: what was appended before an hour's end may be stored after it.
      tenants.set(tenant, { ...known, countedMs: nowMs - HOUR_MS })
      const total = [...known.conflictsOf.values()].reduce((sum, conflicts) => sum + conflicts, 0)
      gauge.set({ tenant: slug }, total)
    },
  }
}
const HOUR_MS = 3_600_000
