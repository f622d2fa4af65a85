import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { type Answer, buildDoors } from '../support/doors.ts'
import { createWorld, DECEMBER, JANUARY, NOVEMBER, type World } from '../support/world.ts'

const HOUR_MS = 3_600_000
let database: TestDatabase
let worlds = 0
const closing: (() => Promise<void>)[] = []
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(async () => {
  for (const close of closing) await close()
  await database.drop()
})

type Shop = World & {
  start: () => Promise<void>
  call: (method: 'GET' | 'POST' | 'PUT' | 'DELETE', url: string, body?: object) => Promise<Answer>
}

/** On 1 November: a customer `ann` at a cent a token, beside a fee of 20.00. */
async function openShop(): Promise<Shop> {
  worlds += 1
  const world = await createWorld(database, `wallets-${worlds}`)
  world.clock.nowMs = NOVEMBER
  const doors = buildDoors(database, { usage: world.deps.usage, now: world.now, newId: world.newId })
  closing.push(async () => {
    await doors.invoicer.stop()
    await doors.app.close()
  })
  const price = { model: 'per_unit', unit_amount: '0.01' } as const
  await world.plan({
    charges: [
      { key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount: '20.00' } },
      { key: 'use', name: 'Use', meter: 'context_tokens', price },
    ],
  })
  await world.subscribe('ann', { endMs: null })
  return {
    ...world,
    start: () => doors.invoicer.start(),
    call: (method, url, body) => doors.call(world.tenantId, method, url, body),
  }
}

const url = '/customers/ann/credit-schedules'
const monthly = { external_key: 'monthly', amount: '30.00', interval: 'month', expires: 'next_grant' }
const scope = { meters: ['context_tokens'], charges: [] }

describe('/customers/{id}/credit-top-up', () => {
  const topUp = '/customers/ann/credit-top-up'
  const rule = { threshold: '10.00', amount: '50.00', most_purchases: 2, per: 'week' }

  test('is set, buys at once where there is too little, is read, replaced and removed', async () => {
    const shop = await openShop()
    expect((await shop.call('GET', topUp)).status).toBe(404)
    const set = await shop.call('PUT', topUp, {
      ...rule,
      scope: { meters: ['context_tokens'] },
      expires_after_days: 30,
    })
    const terms = { currency: 'USD', priority: 0, expires_after_days: 30, scope, declines: 0, suspended_at: null }
    expect(set).toMatchObject({ status: 200, body: { ...rule, ...terms } })
    expect(await shop.call('GET', topUp)).toEqual(set)
    const { purchases } = (await shop.call('GET', '/customers/ann/credit-purchases')).body as { purchases: object[] }
    expect(purchases).toMatchObject([
      { amount: '50.00', currency: 'USD', available: '0.00', state: 'created', gateway: 'manual', settled_at: null },
    ])
    // The same again opens no other one.
    await shop.call('PUT', topUp, rule)
    expect(await shop.call('GET', '/customers/ann/credit-purchases')).toMatchObject({ body: { next: null, purchases } })
    const removed = await shop.call('DELETE', topUp)
    expect(removed).toMatchObject({ status: 200, body: { customer_id: set.body.customer_id, deleted: true } })
    expect(await shop.call('DELETE', topUp)).toEqual(removed)
    expect((await shop.call('GET', topUp)).status).toBe(404)
    for (const wrong of [{ amount: '-1.00' }, { most_purchases: 0 }, { per: 'hour' }, { colour: 'red' }]) {
      expect((await shop.call('PUT', topUp, { ...rule, ...wrong })).status).toBe(400)
    }
    expect((await shop.call('GET', '/customers/bob/credit-purchases')).status).toBe(404)
  })
})

describe('the invoicer by itself', () => {
  afterEach(() => void vi.useRealTimers())

  test('gives what is due, takes off what expired and buys what is too little, within a minute', async () => {
    const shop = await openShop()
    await shop.call('POST', url, monthly)
    await shop.call('PUT', '/customers/ann/credit-top-up', {
      threshold: '40.00',
      amount: '7.00',
      most_purchases: 1,
      per: 'month',
    })
    shop.clock.nowMs = DECEMBER + HOUR_MS
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    await shop.start()
    await vi.advanceTimersByTimeAsync(60_000)
    vi.useRealTimers()
    const uses = () => shop.call('GET', '/customers/ann/credit-uses')
    await expect
      .poll(uses, { timeout: 20_000 })
      .toMatchObject({ body: { uses: [{ kind: 'expired', amount: '30.00' }] } })
    const purchases = () => shop.call('GET', '/customers/ann/credit-purchases')
    await expect.poll(purchases, { timeout: 20_000 }).toMatchObject({ body: { purchases: [{ state: 'paid' }] } })
    expect((await shop.call('GET', '/customers/ann/credits')).body).toMatchObject({ balance: '37.00' })
  })
})

/** Issue 7: prepaid credits with recurring grants, rollover and scope by meter. */
describe('from a schedule to a paid invoice', () => {
  test('what recurs for one meter pays its line of each invoice, rolls over, and is explained by its uses', async () => {
    const shop = await openShop()
    const body = { ...monthly, scope: { meters: ['context_tokens'] }, rollover: { max_amount: '5.00' } }
    const created = await shop.call('POST', url, body)
    expect(created).toMatchObject({
      status: 201,
      body: {
        ...{ ...monthly, scope, every: 1, timezone: 'UTC', start_at: '2023-11-01T00:00:00.000Z', until: null },
        rollover: { max_amount: '5.00', max_percent: null, expires_after_days: null, times: 1 },
        ...{ next_at: '2023-12-01T00:00:00.000Z', stopped_at: null },
      },
    })
    shop.clock.nowMs = NOVEMBER + HOUR_MS
    expect(await shop.call('POST', url, body)).toEqual({ ...created, status: 200 })
    expect((await shop.call('POST', url, { ...body, amount: '31.00' })).status).toBe(409)
    shop.use('ann', 'context_tokens', '1000', NOVEMBER + HOUR_MS)
    shop.use('ann', 'context_tokens', '4000', DECEMBER + HOUR_MS)
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    shop.clock.nowMs = JANUARY + 2 * HOUR_MS
    await shop.run()
    const { invoices } = (await shop.call('GET', '/invoices?customer=ann')).body as { invoices: object[] }
    // Of November nothing is left to pay it with but December's grant and what rolled over; the fee is out of scope.
    expect(invoices).toMatchObject([
      { total: '30.00', credit: '10.00', amount_due: '20.00', state: 'paid' },
      { total: '60.00', credit: '35.00', amount_due: '25.00', state: 'paid' },
    ])
    const credits = (await shop.call('GET', '/customers/ann/credits')).body
    expect(credits).toMatchObject({ balance: '0.00', balances: [], currency: 'USD' })
    const shown = (credits.credits as Record<string, unknown>[]).map((one) => {
      expect(one).toMatchObject({ external_key: null, scope, schedule_id: created.body.id })
      return `${one.rolled_from === null ? 'given' : 'rolled'} ${String(one.created_at).slice(0, 10)} ${one.remaining}/${one.amount}`
    })
    expect(shown).toEqual([
      ...['given 2023-11-01 0.00/30.00', 'rolled 2023-12-01 0.00/5.00', 'given 2023-12-01 0.00/30.00'],
      ...['rolled 2024-01-01 0.00/5.00', 'given 2024-01-01 0.00/30.00'],
    ])
    const { uses } = (await shop.call('GET', '/customers/ann/credit-uses')).body as { uses: Record<string, unknown>[] }
    const kinds = uses.map(({ kind, amount, to_credit_id: to }) => `${kind} ${amount}${to === null ? '' : ' →'}`)
    expect(kinds).toEqual([
      ...['rolled 5.00 →', 'expired 25.00', 'drawn 5.00', 'drawn 5.00'],
      ...['rolled 5.00 →', 'expired 20.00', 'drawn 5.00', 'drawn 30.00'],
    ])
  })

  test('given once beside it, credit of any scope is answered with its scope and terms, and balances by scope', async () => {
    const shop = await openShop()
    const credits = '/customers/ann/credits'
    const rollover = { max_percent: '20', expires_after_days: 30, times: 2 }
    const gift = { external_key: 'gift', amount: '9.00', expires_at: '2023-12-01T00:00:00Z', rollover }
    expect(await shop.call('POST', credits, { ...gift, scope: { charges: ['use', 'base', 'use'] } })).toMatchObject({
      status: 201,
      body: { scope: { meters: [], charges: ['base', 'use'] }, rollover: { ...rollover, max_amount: null } },
    })
    await shop.call('POST', credits, { external_key: 'any', amount: '1.00' })
    await shop.call('POST', credits, { external_key: 'more', amount: '2.00', scope: { charges: ['base', 'use'] } })
    expect((await shop.call('GET', credits)).body).toMatchObject({
      balance: '12.00',
      balances: [
        { scope: null, balance: '1.00' },
        { scope: { meters: [], charges: ['base', 'use'] }, balance: '11.00' },
      ],
    })
  })

  test('a stopped one gives nothing any more; lists are in pages, and what is not there is not found', async () => {
    const shop = await openShop()
    await shop.call('POST', url, monthly)
    await shop.call('POST', url, { ...monthly, external_key: 'weekly', interval: 'week' })
    const first = (await shop.call('GET', `${url}?limit=1`)).body as {
      schedules: { external_key: string }[]
      next: string
    }
    expect(first.schedules.map((one) => one.external_key)).toEqual(['monthly'])
    const second = (await shop.call('GET', `${url}?limit=1&after=${first.next}`)).body
    expect(second).toMatchObject({ schedules: [{ external_key: 'weekly' }] })
    const stopped = await shop.call('DELETE', `${url}/monthly`)
    expect(stopped).toMatchObject({ status: 200, body: { next_at: null, stopped_at: '2023-11-01T00:00:00.000Z' } })
    expect(await shop.call('DELETE', `${url}/monthly`)).toEqual(stopped)
    expect((await shop.call('DELETE', `${url}/daily`)).status).toBe(404)
    expect((await shop.call('GET', '/customers/bob/credit-schedules')).status).toBe(404)
    for (const wrong of [{ interval: 'hour' }, { amount: '1.001' }, { grants: 0 }, { scope: {} }, { colour: 'red' }]) {
      expect((await shop.call('POST', url, { ...monthly, external_key: 'x', ...wrong })).status).toBe(400)
    }
  })
})
