import { pino } from 'pino'
import { describe, expect, test } from 'vitest'
import { createRedisQuotaStore, openRedis, redisReady } from '../../../ingest/quota/quota-store.redis.ts'
import type { QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { draw, item, newCounter } from '../../contract/quota-store.extremes.ts'
import { startRedis } from '../../contract/quota-store.redis-server.ts'

const UNAVAILABLE = { name: 'Problem', code: 'unavailable', options: { retryAfterSeconds: 1 } }

async function openStore(url: string): Promise<QuotaStore> {
  const client = openRedis(url)
  await redisReady(client, url)
  return createRedisQuotaStore(client, pino({ level: 'silent' }))
}

describe('opening Redis', () => {
  test('what is wrong is said, without the password', async () => {
    expect(() => openRedis('localhost:6379')).toThrow('REDIS_URL begins with redis://')
    // The cluster's client keeps to itself why no node answered.
    for (const [scheme, reason] of [
      ['redis', 'connect ECONNREFUSED 127.0.0.1:1'],
      ['redis+cluster', 'it is not ready within 500 ms'],
    ]) {
      const url = `${scheme}://me:s3cret@127.0.0.1:1`
      const refused = await redisReady(openRedis(url), url, 500).catch((error: unknown) => error)
      expect(String(refused)).toBe(`Error: Redis at 127.0.0.1:1 cannot be used: ${reason}. Check REDIS_URL.`)
    }
  })

  test('a cluster behind a plain URL is found out', async () => {
    const server = await startRedis({ cluster: true })
    const url = `redis://127.0.0.1:${server.port}`
    await expect(redisReady(openRedis(url), url)).rejects.toThrow('it is a cluster: write redis+cluster://')
    await server.close()
  })

  test('a password is used, and a wrong one is told', async () => {
    const server = await startRedis()
    await server.admin.call('ACL', 'SETUSER', 'meter', 'on', '>p@ss:w/rd', '~quota:*', '+@all')
    const url = (password: string) => `redis://meter:${encodeURIComponent(password)}@127.0.0.1:${server.port}`
    const store = await openStore(url('p@ss:w/rd'))
    const counter = newCounter()
    await store.load([{ counter, usedMicro: 0n }], Date.now())
    expect(await store.draw([item(draw(counter, 1n, 1n))], Date.now(), true)).toMatchObject({ decisions: [{}] })
    await store.close()
    const wrong = url('wrong')
    await expect(redisReady(openRedis(wrong), wrong, 500)).rejects.toThrow(/127\.0\.0\.1:\d+ cannot be used: WRONGPASS/)
    await server.close()
  })

  test('closing twice is harmless, and so is closing while the server is away', async () => {
    const server = await startRedis()
    const [first, second] = [await openStore(server.url), await openStore(server.url)]
    await first.close()
    await first.close()
    await server.kill()
    await second.close()
    await expect(second.load([{ counter: newCounter(), usedMicro: 0n }], Date.now())).rejects.toMatchObject(UNAVAILABLE)
    await server.close()
  })
})
