import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { createCustomer } from '../../support/customers.ts'
import { type Json, METERING_NOW, type Metering, openMetering, type Tenant } from '../../support/metering.ts'
import { openReceiver, type Receiver } from '../webhooks/receiver.ts'
import { openQuotaTenant, quotaCalls } from './quota-calls.ts'

/** Issue 6: thresholds of quotas, as events at a door and by webhook. BIS-2: thresholds watched with alerts. */
let metering: Metering
let tenant: Tenant
let made = 0
const open: Receiver[] = []

beforeAll(async () => {
  metering = await openMetering(undefined, { allowPrivateWebhooks: true })
})
afterAll(() => metering.close())
beforeEach(async () => {
  metering.clock.nowMs = METERING_NOW
  tenant = await openQuotaTenant(metering, `t-${made++}`)
})
afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

const PATIENCE = { timeout: 60_000, interval: 20 }
const { limit, use, lease, consume } = quotaCalls(() => tenant)
const alerts = async (query = '', by = tenant) => (await by.call('GET', `/quota-alerts${query}`)).body
const levels = async (query = '', by = tenant) =>
  ((await alerts(query, by)).alerts as Json[]).map(({ subject, customer, meter, level }) =>
    [subject ?? customer, meter, level].join(' '),
  )

test('a level is listed as soon as it is reached, with all that it is of, and told by webhook', async () => {
  const receiver = await openReceiver()
  open.push(receiver)
  await tenant.call('PUT', '/webhooks/alerts', { url: receiver.url, topics: ['quota.threshold_reached'] })
  await limit('1000.5')
  expect(await alerts()).toEqual({ alerts: [], next: null })
  await use('a', 400)
  await use('b', 101)
  await expect.poll(() => levels(), PATIENCE).toEqual(['customer-1 tokens 50%'])
  const [alert] = (await alerts()).alerts as Json[]
  expect(alert).toEqual({
    id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    ...{ feature: 'tokens', meter: 'tokens', subject: 'customer-1', customer: null },
    ...{ level: '50%', limit: '1000.5', used: '501', window: 'month' },
    ...{ starts_at: '2026-11-01T00:00:00.000Z', resets_at: '2026-12-01T00:00:00.000Z' },
    fired_at: '2026-11-20T12:00:00.000Z',
  })
  await expect
    .poll(() => receiver.events(), PATIENCE)
    .toEqual([{ id: alert?.id, type: 'quota.threshold_reached', timestamp: alert?.fired_at, data: alert }])
  await use('c', 1)
  await use('b', 101)
  expect(await levels()).toHaveLength(1)
})

test('20 requests at once that cross every level tell of each once', async () => {
  await limit('100')
  await Promise.all(Array.from({ length: 20 }, (_, n) => use(`e-${n}`, 5)))
  await expect.poll(async () => (await levels()).length, PATIENCE).toBe(3)
  await use('over', 5)
  expect((await levels()).sort()).toEqual(['100%', '50%', '80%'].map((level) => `customer-1 tokens ${level}`))
})

test('whatever draws reaches levels: a consume, a meter that counts, and with the next event a lease', async () => {
  await limit('10')
  await limit('2', 'requests')
  await consume('k', 5)
  await expect
    .poll(async () => (await levels()).sort(), PATIENCE)
    .toEqual(['customer-1 requests 50%', 'customer-1 tokens 50%'])
  await lease('l', '4')
  await use('a', 0)
  await expect
    .poll(async () => (await levels('?meter=tokens')).sort(), PATIENCE)
    .toEqual(['customer-1 tokens 50%', 'customer-1 tokens 80%'])
})

test('alerts are filtered by subject and meter, and come in pages, the newest first', async () => {
  for (const subject of ['s-1', 's-2', 's-3']) {
    await limit('10', 'tokens', 'month', subject)
    await limit('4', 'requests', 'day', subject)
    await use(`of-${subject}`, 10, { subject })
    await expect.poll(() => levels(`?subject=${subject}`), PATIENCE).toHaveLength(3)
  }
  expect(await levels('?subject=s-2')).toEqual(['100%', '80%', '50%'].map((level) => `s-2 tokens ${level}`))
  for (const id of ['x', 'y']) await use(id, 0, { subject: 's-1' })
  await expect.poll(() => levels('?meter=requests'), PATIENCE).toEqual(['s-1 requests 50%'])
  expect(await levels('?meter=requests&subject=s-2')).toEqual([])
  const seen: string[] = []
  let next: unknown = null
  do {
    const query: string = `?limit=3${next ? `&cursor=${next}` : ''}`
    seen.push(...(await levels(query)))
    next = (await alerts(query)).next
  } while (next !== null)
  expect(seen).toEqual(await levels())
  expect(seen).toHaveLength(10)
  expect((await tenant.call('GET', '/quota-alerts?cursor=x')).status).toBe(400)
  expect((await tenant.call('GET', '/quota-alerts?limit=0')).status).toBe(400)
})

test('HC-8: a key sees alerts of its own subjects, a customer’s key those that they share too, nobody a foreign one', async () => {
  const acme = await createCustomer(metering.database.pool, tenant.id, 'acme', ['a-1', 'a-2'])
  await createCustomer(metering.database.pool, tenant.id, 'globex', ['g-1'])
  const shared = {
    type: 'metered',
    meter: 'tokens',
    limit: '100',
    window: 'month',
    per: 'customer',
    thresholds: ['50%'],
  }
  await tenant.call('PUT', '/entitlements/customer/acme/shared', shared)
  await tenant.call('PUT', '/entitlements/customer/globex/shared', shared)
  for (const subject of ['a-1', 'a-2', 'g-1']) {
    await limit('100', 'requests', 'month', subject)
    await tenant.call('PUT', `/entitlements/subject/${subject}/own`, {
      ...shared,
      meter: 'requests',
      limit: '2',
      per: 'subject',
    })
  }
  await use('a', 40, { subject: 'a-1' })
  await use('b', 40, { subject: 'a-2' })
  await use('c', 60, { subject: 'g-1' })
  const all = [
    ...['a-1 requests 50%', 'a-2 requests 50%', 'acme tokens 50%'],
    ...['g-1 requests 50%', 'globex tokens 50%'],
  ]
  await expect.poll(async () => (await levels()).sort(), PATIENCE).toEqual(all)
  const key = (name: string, scope: { customer: string } | { subjects: string[] }) =>
    metering.scopedKey(tenant, `${name}-${made++}`, scope)
  const [organization, user] = [key('organization', { customer: acme }), key('user', { subjects: ['a-1'] })]
  expect((await levels('', organization)).sort()).toEqual(['a-1 requests 50%', 'a-2 requests 50%', 'acme tokens 50%'])
  expect(await levels('', user)).toEqual(['a-1 requests 50%'])
  for (const one of [organization, user]) {
    expect(await alerts('?subject=g-1', one)).toEqual({ alerts: [], next: null })
    expect(await levels('?subject=a-1', one)).toEqual(['a-1 requests 50%'])
  }
  // A customer's id is no subject.
  expect(await levels(`?subject=${acme}`)).toEqual([])
})

test('another tenant’s are not there (EPIC-5), and no permission is 403', async () => {
  await limit('10')
  await use('a', 10)
  await expect.poll(() => levels(), PATIENCE).toHaveLength(3)
  const other = await metering.tenant(`t-${made++}`, ['billing:quotas:read'])
  expect(await alerts('', other)).toEqual({ alerts: [], next: null })
  const weak = await metering.tenant(`t-${made++}`, ['billing:usage:read'])
  expect((await weak.call('GET', '/quota-alerts')).status).toBe(403)
})
