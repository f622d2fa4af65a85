import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { isSigned, openReceiver, type Receiver } from '../webhooks/receiver.ts'

let metering: Metering
let tenant: Tenant
let made = 0
const open: Receiver[] = []

beforeAll(async () => {
  metering = await openMetering(undefined, { allowPrivateWebhooks: true })
})
afterAll(() => metering.close())
beforeEach(async () => {
  tenant = await metering.tenant(`t-${made++}`)
})
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

async function receiver(): Promise<Receiver> {
  const one = await openReceiver()
  open.push(one)
  return one
}

const TOPICS = ['quota.threshold_reached']
const put = (name: string, body: object = {}, by = tenant) =>
  by.call('PUT', `/webhooks/${name}`, { url: 'https://hooks.example.com/a', topics: TOPICS, ...body })

describe('PUT /webhooks/{name}', () => {
  test('makes one and answers its secret, this once', async () => {
    const made = await put('alerts')
    expect(made).toMatchObject({ status: 201, headers: { 'cache-control': 'no-store' } })
    expect(made.body).toEqual({
      ...{ name: 'alerts', url: 'https://hooks.example.com/a', topics: TOPICS },
      ...{ created_at: '2026-11-20T12:00:00.000Z', secret: expect.stringMatching(/^whsec_[A-Za-z0-9+/]{43}=$/) },
    })
    const { secret: _, ...known } = made.body
    expect(await put('alerts', { url: 'https://hooks.example.com/b' })).toMatchObject({
      status: 200,
      body: { ...known, url: 'https://hooks.example.com/b' },
    })
    for (const path of ['/webhooks', '/webhooks/alerts', '/webhooks/alerts/deliveries'])
      expect(JSON.stringify((await tenant.call('GET', path)).body)).not.toContain('whsec_')
    expect((await tenant.call('GET', '/webhooks')).body).toEqual({
      webhooks: [{ ...known, url: 'https://hooks.example.com/b' }],
    })
  })

  test.each([
    ['a URL that is none', { url: 'hooks' }],
    ['one with a password', { url: 'https://a:b@hooks.example.com/' }],
    ['no topic', { topics: [] }],
    ['an unknown topic', { topics: ['quota.*'] }],
    ['a secret of their own', { secret: 'whsec_AAAA' }],
  ])('%s is 400', async (_what, body) => {
    expect(await put('alerts', body)).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
  })

  test('a mail address is 400 where mail is not set up, with what to set', async () => {
    const message = 'cannot be a mail address here: SMTP_URL and MAIL_FROM are not set'
    expect(await put('alerts', { url: 'mailto:finance@example.com' })).toMatchObject({
      ...{ status: 400, body: { code: 'invalid_request', errors: [{ path: 'url', message }] } },
    })
  })

  test('a name that is no slug is 400, and no permission is 403', async () => {
    expect((await put('Alerts')).status).toBe(400)
    const reader = await metering.tenant(`t-${made++}`, ['billing:webhooks:read'])
    expect((await put('alerts', {}, reader)).status).toBe(403)
    expect((await reader.call('GET', '/webhooks')).body).toEqual({ webhooks: [] })
    const writer = await metering.tenant(`t-${made++}`, ['billing:webhooks:create'])
    expect((await writer.call('GET', '/webhooks')).status).toBe(403)
  })

  test('more than 20 are 409; a deleted one makes room', async () => {
    for (let n = 0; n < 20; n++) expect((await put(`a-${n}`)).status).toBe(201)
    expect(await put('b')).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect((await put('a-3', { url: 'https://hooks.example.com/c' })).status, 'changing one').toBe(200)
    expect((await tenant.call('DELETE', '/webhooks/a-3')).status).toBe(200)
    expect((await put('b')).status).toBe(201)
  })
})

test('what is deleted is gone, its name is free, and its secret is nowhere any more', async () => {
  const { secret } = (await put('alerts')).body
  expect((await tenant.call('DELETE', '/webhooks/alerts')).body).toEqual({ name: 'alerts', deleted: true })
  for (const [method, path] of [
    ['GET', ''],
    ['DELETE', ''],
    ['GET', '/deliveries'],
    ['POST', '/test'],
  ] as const)
    expect((await tenant.call(method, `/webhooks/alerts${path}`)).status).toBe(404)
  const again = await put('alerts')
  expect(again.status).toBe(201)
  expect(again.body.secret).not.toBe(secret)
})

test('another tenant’s are not there (EPIC-5)', async () => {
  await put('alerts')
  const other = await metering.tenant(`t-${made++}`)
  expect((await other.call('GET', '/webhooks/alerts')).status).toBe(404)
  expect((await other.call('POST', '/webhooks/alerts/test')).status).toBe(404)
  expect((await other.call('DELETE', '/webhooks/alerts')).status).toBe(404)
  expect((await put('alerts', {}, other)).status).toBe(201)
})

test('POST …/test sends an event at once, signed with the secret; deliveries come in pages, the newest first', async () => {
  const { url, deliveries } = await receiver()
  const { secret } = (await put('alerts', { url })).body
  const sent: unknown[] = []
  for (let n = 0; n < 3; n++) {
    const answer = await tenant.call('POST', '/webhooks/alerts/test')
    expect(answer.status).toBe(202)
    sent.push(answer.body.event_id)
    await expect.poll(() => deliveries.length, { timeout: 30_000 }).toBe(n + 1)
  }
  expect(await isSigned(deliveries[0]!, String(secret), metering.clock.nowMs)).toBe(true)
  expect(deliveries.map(({ headers }) => headers['webhook-id'])).toEqual(sent)
  const page = async (query: string) => (await tenant.call('GET', `/webhooks/alerts/deliveries?${query}`)).body
  await expect.poll(async () => JSON.stringify(await page('')), { timeout: 30_000 }).not.toContain('waiting')
  const first = await page('limit=2')
  expect(first).toEqual({
    deliveries: [2, 1].map((n) => ({
      ...{ event_id: sent[n], topic: 'webhook.test', state: 'delivered', attempts: 1, next_attempt_at: null },
      ...{
        last_error: null,
        created_at: '2026-11-20T12:00:00.000Z',
        ended_at: '2026-11-20T12:00:00.000Z',
        taken_by: [],
      },
      payload: { type: 'webhook.test', timestamp: '2026-11-20T12:00:00.000Z', data: { webhook: 'alerts' } },
    })),
    next: sent[1],
  })
  expect(await page(`limit=2&cursor=${first.next}`)).toMatchObject({ deliveries: [{ event_id: sent[0] }], next: null })
  expect((await tenant.call('GET', '/webhooks/alerts/deliveries?cursor=1')).status).toBe(400)
})
