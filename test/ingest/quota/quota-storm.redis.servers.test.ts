import { Agent, request } from 'node:http'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'
import { openTenant } from '../../integrity/catalog.ts'
import { type Api, apiOf } from '../../support/api.ts'
import { eventually, newDataFolder, type Product, removeDataFolder, startProduct } from '../../support/product.ts'

// A bound against hanging, not a promise: other work may share the machine.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 })

/** Issue 6: 64 clients on one hard limit, through the real doors on a real Redis, never overspend it. */
const LIMIT = 4_000
const REQUESTS = 10_000
const CONNECTIONS = 64

let redis: RedisServer
let product: Product & { key: string }
let folder: string
let key: string
let api: Api
const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS })

beforeAll(async () => {
  redis = await startRedis()
  folder = newDataFolder()
  product = await startProduct(folder, undefined, { REDIS_URL: redis.url })
  key = await openTenant(apiOf(product.url, product.key), 'storm')
  api = apiOf(product.url, key)
  await api.call('PUT', '/event-types/work', {
    schema: { type: 'record', name: 'Work', fields: [{ name: 'size', type: 'long' }] },
  })
  await api.call('PUT', '/meters/size', { event_type: 'work', aggregation: 'sum', value: 'size' })
  await api.call('PUT', '/quota/s/size', { limit: String(LIMIT), window: 'month' })
})
afterAll(async () => {
  agent.destroy()
  await product?.stop('SIGTERM')
  await redis?.close()
  await removeDataFolder(folder)
})

type Answer = { status: number; body: Record<string, unknown> }
let sent = 0

/** Over one of the connections. */
function post(path: string, body: object, idempotencyKey = ''): Promise<Answer> {
  sent++
  const headers = {
    authorization: `Bearer ${key}`,
    'content-type': 'application/json',
    'idempotency-key': idempotencyKey,
  }
  return new Promise((done, fail) => {
    const asked = request(`${product.url}/api/v1${path}`, { agent, method: 'POST', headers }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => {
        text += part
      })
      response.on('end', () => done({ status: response.statusCode ?? 0, body: JSON.parse(text) }))
      response.on('error', fail)
    })
    asked.on('error', fail)
    asked.end(JSON.stringify(body))
  })
}

const subject = { subject: 's', meter: 'size' }
const event = (id: string, size: number, change = {}) => {
  return { specversion: '1.0', id, source: 'storm', type: 'work', subject: 's', data: { size }, ...change }
}
const consume = (id: string, size: number) => post('/quota/consume', { subject: 's', type: 'work', data: { size } }, id)
const counts = { taken: 0, refused: 0, settled: 0, released: 0, leased: 0 }

/** What one turn spent, for sure. */
const TURNS: ((id: string) => Promise<number>)[] = [
  async (id) => taken(await consume(id, 1)) && 1,
  async (id) => {
    const first = taken(await consume(id, 2))
    // Sent again it draws nothing, also by whoever was refused at first: its own answer counts.
    const again = taken(await consume(id, 2))
    return first || again ? 2 : 0
  },
  async () => {
    const { body } = await post('/quota/check', { checks: [{ ...subject, quantity: '1' }] })
    const [result] = body.results as { allowed: boolean; quota_remaining: string }[]
    expect(result?.allowed).toBe(Number(result?.quota_remaining) >= 1)
    return 0
  },
  async (id) => {
    const { status, body } = await post('/quota/reserve', { ...subject, quantity: '3' }, id)
    if (status !== 201) return 0
    const settled = await post('/quota/settle', { hold_id: body.hold_id, event: event(id, 2) })
    expect(settled).toMatchObject({ status: 202, body: { released: '1' } })
    counts.settled++
    return 2
  },
  async (id) => {
    const { status, body } = await post('/quota/reserve', { ...subject, quantity: '5' }, id)
    if (status !== 201) return 0
    expect((await post('/quota/release', body.hold_id ? { hold_id: body.hold_id } : {})).body.released).toBe('5')
    counts.released++
    return 0
  },
  async (id) => {
    const { body } = await post('/quota/leases', { ...subject, quantity: '4' }, id)
    const granted = Number(body.quantity)
    if (granted < 2) return releaseAll(body.lease_id, granted)
    const answer = await post('/events', event(id, granted - 1, { tallyhold: body.lease_id }))
    expect(answer).toMatchObject({ status: 202, body: { accepted: 1 } })
    counts.leased++
    expect((await post(`/quota/leases/${body.lease_id}/return`, { unused: '1' })).body.returned).toBe('1')
    return granted - 1
  },
]

async function releaseAll(hold_id: unknown, granted: number): Promise<number> {
  if (granted > 0) expect((await post('/quota/release', { hold_id })).body.released).toBe(String(granted))
  return 0
}

function taken({ status }: Answer): number {
  expect([202, 429]).toContain(status)
  counts[status === 202 ? 'taken' : 'refused']++
  return status === 202 ? 1 : 0
}

test('64 connections and 10,000 requests of every kind spend exactly what the limit allows', async () => {
  let [turn, spent] = [0, 0]
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async () => {
      while (sent < REQUESTS) {
        const mine = turn++
        const took = (await TURNS[mine % TURNS.length]?.(`t-${mine}`)) ?? 0
        spent += took
      }
    }),
  )
  expect(sent).toBeGreaterThanOrEqual(REQUESTS)
  expect(spent).toBeLessThanOrEqual(LIMIT)
  // The limit was met, and everything happened before it was.
  expect(Math.min(...Object.values(counts)), JSON.stringify(counts)).toBeGreaterThan(50)
  while (taken(await consume(`rest-${spent}`, 1))) spent++
  expect(spent).toBe(LIMIT)
  const { limits } = await api.call<{ limits: { used: string }[] }>('GET', '/quota/s')
  expect(limits).toMatchObject([{ used: String(LIMIT), remaining: '0' }])
  // What was counted is what was taken.
  const query = 'meter=size&from=2020-01-01T00:00:00Z&to=2090-01-01T00:00:00Z'
  const total = () => api.call<{ total: { quantity: string } }>('GET', `/usage?${query}`)
  expect((await eventually(total, (seen) => seen.total.quantity === String(LIMIT))).total.quantity).toBe(String(LIMIT))
})
