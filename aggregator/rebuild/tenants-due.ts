import type { TenantId } from '../../schemas/http/door.ts'
import { type RebuildDeps, rebuildRipe } from './rebuild.ts'

/** Tenants with something to rebuild, perhaps: to ask ClickHouse about each every few seconds costs more than they do. */
export type TenantsDue = {
  /** Something of theirs was stored. */
  changed(tenants: Iterable<number>): void
  everyone(): void
  /** Takes those of the tenants that are due; who finds more to do later says so with `changed`. */
  take(tenants: readonly number[]): number[]
}

/**
 * Everyone is due at the start, and then again and again, for what this process did not see: events that an aggregator
 * stored which is gone now.
 */
export function createTenantsDue(now: () => number, everyoneEveryMs: number): TenantsDue {
  const due = new Set<number>()
  let allMs: number | undefined
  return {
    changed: (tenants) => {
      for (const tenant of tenants) due.add(tenant)
    },
    everyone: () => {
      allMs = undefined
    },
    take: (tenants) => {
      const nowMs = now()
      const all = allMs === undefined || nowMs - allMs >= everyoneEveryMs
      if (all) allMs = nowMs
      const taken = tenants.filter((tenant) => all || due.has(tenant))
      due.clear()
      return taken
    },
  }
}

/** Rebuilds what is ripe of a tenant, which is due again while anything waits, and after a failure. */
export async function rebuildDue(deps: RebuildDeps, due: TenantsDue, tenant: TenantId): Promise<void> {
  try {
    const { more } = await rebuildRipe(deps, tenant)
    if (more) due.changed([tenant])
  } catch (error) {
    due.changed([tenant])
    throw error
  }
}
