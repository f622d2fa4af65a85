import type { TenantId } from '../../schemas/http/door.ts'
import type { RedisClient } from '../quota/open.redis.ts'
import { type BillingCache, KEPT_MS } from './billing-cache.ts'

/** `billing_cache:{<tenant>}:<name>`, in the slot of the tenant's counters. The client is the quota store's, which ends it. */
export function createRedisBillingCache(client: RedisClient): BillingCache {
  const keyOf = (tenant: TenantId, name: string) => `billing_cache:{${tenant}}:${name}`
  return {
    put: async (tenant, name, text) => void (await client.set(keyOf(tenant, name), text, 'PX', KEPT_MS)),
    get: async (tenant, name) => (await client.get(keyOf(tenant, name))) ?? undefined,
  }
}
