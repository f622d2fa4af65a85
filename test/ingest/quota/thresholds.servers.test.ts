import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'
import { openTenant } from '../../integrity/catalog.ts'
import { type Api, apiOf } from '../../support/api.ts'
import {
  launchStart,
  newDataFolder,
  type Product,
  readyProduct,
  removeDataFolder,
  startProduct,
} from '../../support/product.ts'
import { isSigned, openReceiver, type Receiver } from '../webhooks/receiver.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

/** Issue 6: through the real product on a real Redis, with a receiver that fails first, and through kill -9. */
let redis: RedisServer
let folder: string
let product: Product
let receiver: Receiver
let key: string
let answers: number[]

const ALLOWED = { WEBHOOK_ALLOW_PRIVATE: 'true' }
const restart = async (env: Record<string, string>) => {
  product = await readyProduct(launchStart(folder, undefined, { REDIS_URL: redis.url, ...env }))
}
const api = (): Api => apiOf(product.url, key)
beforeAll(async () => {
  redis = await startRedis()
  folder = newDataFolder()
  answers = [500]
  receiver = await openReceiver(() => answers.shift() ?? 204)
  const started = await startProduct(folder, undefined, { REDIS_URL: redis.url, ...ALLOWED })
  product = started
  key = await openTenant(apiOf(product.url, started.key), 'told')
  await api().call('PUT', '/event-types/work', {
    schema: { type: 'record', name: 'Work', fields: [{ name: 'size', type: 'long' }] },
  })
  await api().call('PUT', '/meters/size', { event_type: 'work', aggregation: 'sum', value: 'size' })
})
afterAll(async () => {
  await product?.stop('SIGTERM')
  await receiver?.close()
  await redis?.close()
  await removeDataFolder(folder)
})

const PATIENCE = { timeout: 120_000, interval: 100 }
const TOPICS = ['quota.threshold_reached']
const use = (id: string, size: number) =>
  api().send('POST', '/events', { id, source: 'told', type: 'work', subject: 's', data: { size } })
const levels = async () => {
  const { alerts } = await api().call<{ alerts: { level: string }[] }>('GET', '/quota-alerts')
  return alerts.map(({ level }) => level).sort()
}
const told = () =>
  receiver
    .events()
    .map(({ data }) => data.level)
    .sort()

test('levels are told once each, signed, though 20 requests cross them, the receiver fails and ingest is killed', async () => {
  const { secret } = await api().call<{ secret: string }>('PUT', '/webhooks/alerts', {
    url: receiver.url,
    topics: TOPICS,
  })
  await api().call('PUT', '/quota/s/size', { limit: '100', window: 'month' })
  await Promise.all(Array.from({ length: 20 }, (_, n) => use(`a-${n}`, 4)))
  await expect.poll(levels, PATIENCE).toEqual(['50%', '80%'])
  // One was answered with 500, and comes again.
  await expect.poll(told, PATIENCE).toEqual(['50%', '80%'])
  await expect.poll(() => receiver.deliveries.length, PATIENCE).toBe(3)
  const ids = receiver.deliveries.map(({ headers }) => headers['webhook-id'])
  expect(new Set(ids).size).toBe(2)
  for (const delivery of receiver.deliveries) expect(await isSigned(delivery, secret, Date.now())).toBe(true)

  await product.crash()
  await restart(ALLOWED)
  await use('b', 1)
  await use('c', 19)
  await expect.poll(levels, PATIENCE).toEqual(['100%', '50%', '80%'])
  await expect.poll(told, PATIENCE).toEqual(['100%', '50%', '80%'])
  expect(receiver.deliveries).toHaveLength(4)
})

test('kill -9 right after the draws: the level is told all the same, without another event', async () => {
  await api().call('PUT', '/quota/s/size', { limit: '1000000', window: 'day' })
  await use('d', 600_000)
  await product.crash()
  await restart(ALLOWED)
  await expect.poll(levels, PATIENCE).toEqual(['100%', '50%', '50%', '80%'])
})

test('private receivers are refused where they were not allowed', async () => {
  await product.stop('SIGTERM')
  await restart({})
  const { status } = await api().send('PUT', '/webhooks/other', { url: receiver.url, topics: TOPICS })
  expect(status).toBe(400)
  // The one from before stands, and nothing goes there any more.
  const before = receiver.deliveries.length
  await api().call('POST', '/webhooks/alerts/test')
  const deliveries = async () =>
    (await api().call<{ deliveries: { last_error: string }[] }>('GET', '/webhooks/alerts/deliveries?limit=1'))
      .deliveries
  await expect.poll(deliveries, PATIENCE).toMatchObject([{ topic: 'webhook.test', last_error: 'ADDRESS_NOT_ALLOWED' }])
  expect(receiver.deliveries).toHaveLength(before)
})
