import { Gauge, type Registry } from 'prom-client'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { countConflicts } from './lists.clickhouse.ts'
import { NOTHING_SEEN, type Seen, shardsStoredSince } from './stored-since.clickhouse.ts'

export type ConflictGauge = { refresh(tenant: TenantId, slug: string): Promise<void> }

/** Counted in one statement at most; a shard holds about 10,000 events. */
const SHARDS_AT_ONCE = 200

/**
 * How many identities of each tenant came with contradicting payloads, counted anew for the shards of which something
 * was stored since the last refresh; the first one counts all. Only shards with conflicts are remembered. Every process
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
  const tenants = new Map<TenantId, { conflictsOf: Map<number, number>; seen: Seen }>()
  return {
    refresh: async (tenant, slug) => {
      const known = tenants.get(tenant) ?? { conflictsOf: new Map<number, number>(), seen: NOTHING_SEEN }
      const { shards, seen } = await shardsStoredSince(deps.store, tenant, known.seen, deps.now())
      for (let from = 0; from < shards.length; from += SHARDS_AT_ONCE) {
        if (deps.stopping()) return
        const part = shards.slice(from, from + SHARDS_AT_ONCE)
        const counted = await countConflicts(deps.store, tenant, part)
        for (const shard of part) known.conflictsOf.delete(shard)
        for (const [shard, conflicts] of counted) known.conflictsOf.set(shard, conflicts)
      }
      // When all are counted: one that failed half-way begins there again.
      tenants.set(tenant, { ...known, seen })
      const total = [...known.conflictsOf.values()].reduce((sum, conflicts) => sum + conflicts, 0)
      gauge.set({ tenant: slug }, total)
    },
  }
}
