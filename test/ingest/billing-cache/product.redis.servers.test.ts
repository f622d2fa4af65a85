import { afterAll, beforeAll, expect, test } from 'vitest'
import { type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'
import { openTenant } from '../../integrity/catalog.ts'
import { type Api, apiOf } from '../../support/api.ts'
import { eventually, newDataFolder, type Product, removeDataFolder, startProduct } from '../../support/product.ts'

/** HC-1, HC-2, HC-4 and HC-5 of the whole product on a real Redis. */
let server: RedisServer
let folder: string
let product: Product & { key: string }
let clinic: Api
beforeAll(async () => {
  server = await startRedis()
  folder = newDataFolder()
  product = await startProduct(folder, undefined, { REDIS_URL: server.url, BILLING_TIER_DEFAULT: 'starter' })
  clinic = apiOf(product.url, await openTenant(apiOf(product.url, product.key), 'clinic'))
})
afterAll(async () => {
  await product.stop()
  await server.close()
  await removeDataFolder(folder)
})

test('1,500 minutes of the tier that BILLING_TIER_DEFAULT names, 44 used, 15.5 more: 1440.5 are left', async () => {
  const minutes = { type: 'bytes', logicalType: 'decimal', precision: 20, scale: 6 }
  const schema = { type: 'record', name: 'Conversation', fields: [{ name: 'minutes', type: minutes }] }
  await clinic.call('PUT', '/event-types/conversation', { schema })
  const meter = { event_type: 'conversation', aggregation: 'sum', value: 'minutes' }
  await clinic.call('PUT', '/meters/conversation_minutes', meter)
  const limit = { type: 'metered', meter: 'conversation_minutes', limit: '1500', window: 'month' }
  await clinic.call('PUT', '/entitlements/plan/starter/minutes', limit)
  const customer = { external_key: 'clinic-7', currency: 'USD', subjects: ['user-1'] }
  const { id } = await clinic.call<{ id: string }>('POST', '/customers', customer)
  const usage = { user_id: 'user-1', organization_id: 'clinic-7', usage_type: 'conversation_minutes' }
  await clinic.call('POST', '/billing/usage', { ...usage, quantity: 44 })
  expect(await clinic.call('POST', '/billing/usage', { ...usage, quantity: 15.5 })).toEqual({
    usage_id: expect.any(String),
    recorded_at: expect.any(String),
    quota_remaining: 1440.5,
    quota_exceeded: false,
  })
  expect(await clinic.call('GET', '/billing/subscription/user-1')).toMatchObject({
    ...{ organization_id: 'clinic-7', tier: 'starter', subscription: null, limits: [{ limit: '1500' }] },
  })
  expect(await clinic.call('GET', '/billing/quota/user-1')).toMatchObject({ limits: [{ used: '59.5' }] })
  const cached = () => server.admin.keys('billing_cache:*')
  const keys = await eventually(cached, (seen) => seen.length === 2)
  expect(keys.map((key) => key.replace(/\{\d+\}/, '{tenant}')).sort()).toEqual([
    `billing_cache:{tenant}:${id}`,
    'billing_cache:{tenant}:user:user-1',
  ])
})
