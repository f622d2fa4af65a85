import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createCustomer } from '../../../../invoicer/agreements/customers/create-customer.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { type Answer, buildDoors } from '../../support/doors.ts'
import { createWorld, NOW, type World } from '../../support/world.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

type Office = World & { post: (url: string, body: object) => Promise<Answer>; get: (url: string) => Promise<Answer> }

/** A tenant with two customers that pay in USD, and one subscription. */
async function open(): Promise<Office> {
  worlds += 1
  const world = await createWorld(database, `coupons-${worlds}`)
  await world.plan()
  await world.subscribe('ann')
  const bob = { externalKey: 'bob', name: null, email: null, currency: 'EUR', timezone: 'UTC', subjects: ['bob'] }
  await world.transact(world.tenantId, (tx) => createCustomer(tx, bob, world))
  const doors = buildDoors(database, { now: world.now, newId: world.newId })
  return {
    ...world,
    post: (url, body) => doors.call(world.tenantId, 'POST', url, body),
    get: (url) => doors.call(world.tenantId, 'GET', url),
  }
}
const LAUNCH = { key: 'launch', name: 'Launch', percent: '20.50', cycles: 3 }

describe('coupons (issue 7)', () => {
  test('are created once per key, read by key or id, listed, and never change', async () => {
    const { post, get } = await open()
    const created = await post('/coupons', { ...LAUNCH, charges: ['b', 'a', 'b'] })
    expect(created).toMatchObject({
      status: 201,
      body: { percent: '20.5', amount: null, charges: ['a', 'b'], cycles: 3 },
    })
    expect(await post('/coupons', { ...LAUNCH, percent: '20.5', charges: ['a', 'b'] })).toEqual({
      ...{ status: 200, body: created.body },
    })
    expect(await post('/coupons', LAUNCH)).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect(await get('/coupons/launch')).toEqual({ status: 200, body: created.body })
    expect(await get(`/coupons/${String(created.body.id)}`)).toEqual({ status: 200, body: created.body })
    expect(await get('/coupons/none')).toMatchObject({ status: 404 })
    expect(await get('/coupons')).toEqual({ status: 200, body: { coupons: [created.body], next: null } })
  })

  test.each([
    [{ percent: '0' }, 'percent'],
    [{ percent: '100.000000000001' }, 'percent'],
    [{ percent: '-5' }, 'percent'],
    [{ percent: '5', amount: '1.00', currency: 'USD' }, 'percent'],
    [{}, 'percent'],
    [{ percent: '5', currency: 'USD' }, 'currency'],
    [{ amount: '1.00' }, 'currency'],
    [{ amount: '0.00', currency: 'USD' }, 'amount'],
  ])('are refused where nothing can come off: %j', async (off, path) => {
    const { post } = await open()
    const answer = await post('/coupons', { key: 'bad', name: 'Bad', cycles: null, ...off })
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request', errors: [{ path }] } })
  })

  test('of an amount smaller than the minor unit are refused: JPY has none', async () => {
    const { post } = await open()
    const yen = { key: 'yen', name: 'Yen', currency: 'JPY', cycles: 1 }
    expect(await post('/coupons', { ...yen, amount: '100.5' })).toMatchObject({ status: 400 })
    expect(await post('/coupons', { ...yen, amount: '100' })).toMatchObject({ status: 201, body: { amount: '100' } })
  })
})

describe('giving a coupon', () => {
  test('makes a discount once per external key, to a subscription or to a customer, and ends it once', async () => {
    const { post, get, clock } = await open()
    await post('/coupons', LAUNCH)
    const given = await post('/subscriptions/ann/discounts', { external_key: 'x', coupon: 'launch' })
    expect(given).toMatchObject({
      status: 201,
      body: { coupon: 'launch', start: '2024-01-02T00:00:00.000Z', end: null },
    })
    clock.nowMs += 90_000
    // The same again, though now is later; with another start it is another discount.
    const again = await post('/subscriptions/ann/discounts', { external_key: 'x', coupon: 'launch' })
    expect(again).toEqual({ status: 200, body: given.body })
    expect(await post('/customers/ann/discounts', { external_key: 'x', coupon: 'launch' })).toMatchObject({
      status: 409,
    })
    const later = { external_key: 'y', coupon: 'launch', start: '2024-02-01T10:30:30Z' }
    const toAll = await post('/customers/ann/discounts', later)
    expect(toAll).toMatchObject({ status: 201, body: { subscription_id: null, start: '2024-02-01T10:30:00.000Z' } })
    expect(await get('/coupons/launch')).toMatchObject({ body: { redemptions: 2 } })

    const ended = await post('/discounts/x/end', { at: '2024-03-01T00:00:00Z' })
    expect(ended).toMatchObject({ status: 200, body: { ...given.body, end: '2024-03-01T00:00:00.000Z' } })
    expect(await post('/discounts/x/end', {})).toEqual(ended)
    expect(await post('/discounts/x/end', { at: '2024-04-01T00:00:00Z' })).toMatchObject({ status: 409 })
    const both = { discounts: [ended.body, toAll.body], next: null }
    expect((await get('/discounts?subscription=ann')).body).toEqual(both)
    expect((await get('/discounts?customer=ann')).body).toEqual(both)
    expect((await get('/discounts?customer=bob')).body).toEqual({ discounts: [], next: null })
    const { body } = await get('/billing-events?customer=ann')
    const names = (body.events as { event: string }[]).map(({ event }) => event)
    expect(names.filter((name) => name.startsWith('discount.'))).toEqual([
      ...['discount.given', 'discount.given', 'discount.ended'],
    ])
  })

  test('is refused behind its last instant, once it is archived, and in another currency', async () => {
    const { post, clock } = await open()
    await post('/coupons', { ...LAUNCH, redeem_by: new Date(NOW + 60_000).toISOString() })
    await post('/coupons', { key: 'five', name: 'Five', amount: '5.00', currency: 'USD', cycles: 1 })
    const give = (key: string, coupon: string, to = 'ann') =>
      post(`/customers/${to}/discounts`, { external_key: key, coupon })
    expect(await give('a', 'five', 'bob')).toMatchObject({ status: 400, body: { errors: [{ path: 'coupon' }] } })
    expect(await give('a', 'none')).toMatchObject({ status: 400 })
    expect(await give('a', 'launch')).toMatchObject({ status: 201 })
    clock.nowMs += 60_001
    expect(await give('b', 'launch')).toMatchObject({ status: 409, body: { code: 'illegal_state' } })
    const archived = await post('/coupons/five/archive', {})
    expect(archived).toMatchObject({ status: 200, body: { archived_at: new Date(clock.nowMs).toISOString() } })
    clock.nowMs += 1
    expect(await post('/coupons/five/archive', {})).toEqual(archived)
    expect(await give('c', 'five')).toMatchObject({ status: 409, body: { code: 'illegal_state' } })
    // What was given is answered still.
    expect(await give('a', 'launch')).toMatchObject({ status: 200 })
  })

  test('never happens more often than its maximum, however many give it at once', async () => {
    const { post, get } = await open()
    await post('/coupons', { ...LAUNCH, max_redemptions: 3 })
    const all = Array.from({ length: 12 }, (_, index) =>
      post('/subscriptions/ann/discounts', { external_key: `k${index % 8}`, coupon: 'launch' }),
    )
    const answers = await Promise.all(all)
    const keys = answers.filter(({ status }) => status < 300).map(({ body }) => body.external_key)
    expect(new Set(keys).size).toBe(3)
    expect(answers.filter(({ status }) => status === 201)).toHaveLength(3)
    expect(answers.every(({ status }) => [200, 201, 409].includes(status))).toBe(true)
    expect(await get('/coupons/launch')).toMatchObject({ body: { redemptions: 3 } })
    expect((await get('/discounts')).body.discounts).toHaveLength(3)
  })
})
