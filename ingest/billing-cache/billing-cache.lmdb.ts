import type { Database } from 'lmdb'
import type { TenantId } from '../../schemas/http/door.ts'
import { type BillingCache, KEPT_MS } from './billing-cache.ts'

const SWEEP_EVERY_MS = 3_600_000

/** Beside the counters: `billing_cache\n<tenant>\n<name>` → "<its end in ms> <text>". What has ended is removed by a later put. */
export function createLmdbBillingCache(db: Database<string, string>, now: () => number): BillingCache {
  const keyOf = (tenant: TenantId, name: string) => `billing_cache\n${tenant}\n${name}`
  let sweptAtMs = now()
  return {
    put: async (tenant, name, text) => {
      const nowMs = now()
      if (nowMs - sweptAtMs >= SWEEP_EVERY_MS) {
        sweptAtMs = nowMs
        removeEnded(db, nowMs)
      }
      db.putSync(keyOf(tenant, name), `${nowMs + KEPT_MS} ${text}`)
    },
    get: async (tenant, name) => {
      const kept = db.get(keyOf(tenant, name))
      return kept !== undefined && endOf(kept) > now() ? kept.slice(kept.indexOf(' ') + 1) : undefined
    },
  }
}

function removeEnded(db: Database<string, string>, nowMs: number): void {
  db.transactionSync(() => {
    for (const { key, value } of db.getRange({ start: 'billing_cache\n', end: 'billing_cache\u000b' })) {
      if (endOf(value) <= nowMs) db.removeSync(key)
    }
  })
}

function endOf(kept: string): number {
  return Number(kept.slice(0, kept.indexOf(' ')))
}
