import { expect, test, vi } from 'vitest'
import { startRedis } from '../../contract/quota-store.redis-server.ts'
import { expectHeldOnce } from './killed-after-hold.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000 })

test('on Redis, killed between a hold and its answer, the same key again holds nothing twice', async () => {
  const redis = await startRedis()
  await expectHeldOnce({ REDIS_URL: redis.url })
  expect(await redis.admin.keys('*:hold:*')).toHaveLength(2)
  await redis.close()
})
