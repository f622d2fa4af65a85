import { pino } from 'pino'
import { afterAll, beforeAll, describe } from 'vitest'
import { createRedisQuotaStore, openRedis, redisReady } from '../../../ingest/quota/quota-store.redis.ts'
import { passTime, type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'
import { describeRolling } from '../../contract/quota-store.rolling.ts'

describe.each([false, true])('on Redis (cluster: %s)', (cluster) => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis({ cluster })
  })
  afterAll(() => server?.close())

  describeRolling('redis', async (now) => {
    await server.admin.flushall()
    const client = openRedis(server.url)
    await redisReady(client, server.url)
    const store = createRedisQuotaStore(client, pino({ level: 'silent' }))
    return { store: passTime(store, server.admin, now), close: store.close }
  })
})
