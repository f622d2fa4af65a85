import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createRedisBillingCache } from '../../../ingest/billing-cache/billing-cache.redis.ts'
import type { BillingCache } from '../../../ingest/billing-cache/billing-cache.ts'
import { openRedis, redisReady } from '../../../ingest/quota/open.redis.ts'
import { describeBillingCache } from '../../contract/billing-cache.ts'
import { type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'

async function openCache(url: string) {
  const client = openRedis(url)
  await redisReady(client, url)
  return { cache: createRedisBillingCache(client), close: async () => client.disconnect() }
}

describe.each([false, true])('on Redis (cluster: %s)', (cluster) => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis({ cluster })
  })
  afterAll(() => server?.close())

  describeBillingCache('redis', async (now) => {
    await server.admin.flushall()
    const { cache, close } = await openCache(server.url)
    return { cache: passTime(cache, server, now), close }
  })

  test('HC-5: billing_cache:{org_id} under the tenant’s hash tag, which ends after 24 hours', async () => {
    await server.admin.flushall()
    const { cache, close } = await openCache(server.url)
    await cache.put(7, '01890a5d-ac96-774b-bcce-b302099a8057', 'text')
    const [key = '', ...others] = await server.admin.keys('*')
    expect([key, ...others]).toEqual(['billing_cache:{7}:01890a5d-ac96-774b-bcce-b302099a8057'])
    const ttl = await server.admin.ttl(key)
    expect(ttl).toBeGreaterThan(86_400 - 60)
    expect(ttl).toBeLessThanOrEqual(86_400)
    await close()
  })
})

test('a Redis that is gone fails, soon', async () => {
  const server = await startRedis()
  const { cache, close } = await openCache(server.url)
  await server.close()
  await expect(cache.put(1, 'a', 'text')).rejects.toThrow()
  await expect(cache.get(1, 'a')).rejects.toThrow()
  await close()
})

/** A server whose clock is the test's: when that went on, every key is so much nearer to its end. */
function passTime(cache: BillingCache, { admin }: RedisServer, now: () => number): BillingCache {
  let lastMs = now()
  const pass = async () => {
    const passedMs = now() - lastMs
    lastMs = now()
    if (passedMs === 0) return
    for (const key of await admin.keys('*')) await admin.pexpire(key, (await admin.pttl(key)) - passedMs)
  }
  return {
    put: (...args) => pass().then(() => cache.put(...args)),
    get: (...args) => pass().then(() => cache.get(...args)),
  }
}
