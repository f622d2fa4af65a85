import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { isCurrency } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { buildDoors } from '../../support/doors.ts'

/** Issue 7: products → plans → prices, in several currencies and intervals; and plans that are archived. */
let database: TestDatabase
let doors: ReturnType<typeof buildDoors>
let tenant: number
let tenants = 0
const clock = { nowMs: Date.UTC(2024, 0, 10, 12) }
beforeAll(async () => {
  database = await createTestDatabase()
  doors = buildDoors(database, { now: () => clock.nowMs })
  await doors.app.ready()
})
afterAll(async () => {
  await doors.invoicer.stop()
  await doors.app.close()
  await database.drop()
})
beforeEach(async () => {
  tenants += 1
  tenant = await database.createTenant(`products-${tenants}`)
})

const post = (url: string, body: object) => doors.call(tenant, 'POST', url, body)
const patch = (url: string, body: object) => doors.call(tenant, 'PATCH', url, body)
const get = (url: string, as = tenant) => doors.call(as, 'GET', url)
const PRO = { key: 'pro', name: 'Pro', description: 'For teams.', metadata: { page: 'p' }, prices: { USD: '250.00' } }
const plan = (key: string, currency: string, interval: string, more: object = {}) =>
  post('/plans', {
    ...{ key, name: key, currency, interval, product: 'pro' },
    charges: [{ key: 'base', name: 'Base', price: { model: 'flat', amount: '20' } }],
    ...more,
  })
const customer = (key: string, currency = 'USD') => post('/customers', { external_key: key, currency, subjects: [key] })
const START = '2024-01-01T00:00:00Z'
const subscribe = (key: string, to: object, name = key) =>
  post('/subscriptions', { external_key: key, customer: name, start: START, ...to })
type Listed = { key: string }
const keysOf = (list: unknown) => (list as Listed[]).map(({ key }) => key)
const eventsOf = async () =>
  ((await get('/billing-events?limit=999')).body.events as { event: string }[]).map(({ event }) => event)

describe('products', () => {
  test('are created once per key, read by key or id, listed, and no other tenant sees them', async () => {
    const created = await post('/products', PRO)
    expect(created).toMatchObject({
      status: 201,
      body: { ...PRO, prices: { USD: '250' }, plans: [], archived_at: null },
    })
    expect(await post('/products', { ...PRO, prices: { USD: '250' } })).toEqual({ status: 200, body: created.body })
    expect(await post('/products', { ...PRO, name: 'Other' })).toMatchObject({ status: 409 })
    for (const one of ['pro', String(created.body.id)]) {
      expect(await get(`/products/${one}`)).toEqual({ status: 200, body: created.body })
    }
    expect((await get('/products')).body).toEqual({ products: [created.body], next: null })
    const other = await database.createTenant(`products-other-${tenants}`)
    expect((await get('/products/pro', other)).status).toBe(404)
    expect((await get('/products', other)).body).toEqual({ products: [], next: null })
  })

  test('asked for five times at once are created, changed and archived once', async () => {
    const five = <Value>(ask: () => Promise<Value>) => Promise.all([...Array(5)].map(ask))
    const created = await five(() => post('/products', PRO))
    expect(created.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 201])
    expect(new Set(created.map(({ body }) => body.id)).size).toBe(1)
    await plan('basic', 'USD', 'month', { product: null })
    await customer('ann')
    for (const answers of [
      await five(() => patch('/products/pro', { name: 'Pro plus' })),
      await five(() => patch('/plans/basic', { product: 'pro' })),
    ]) {
      for (const answer of answers) expect(answer).toEqual(answers[0])
    }
    const subscribed = await five(() => subscribe('ann', { product: 'pro', interval: 'month' }))
    expect(subscribed.map(({ status }) => status).sort()).toEqual([200, 200, 200, 200, 201])
    const told = (await eventsOf()).filter((event) => /^(product|plan\.listed|subscription)/.test(event))
    expect(told.sort()).toEqual(['plan.listed', 'product.created', 'product.updated', 'subscription.created'])
  })

  test('change by what is given, and the same again changes nothing', async () => {
    await post('/products', PRO)
    const change = { name: 'Pro plus', metadata: { page: null, tier: '2' }, prices: { EUR: '230', USD: null } }
    const changed = await patch('/products/pro', change)
    expect(changed).toMatchObject({ status: 200, body: { name: 'Pro plus', description: 'For teams.' } })
    expect(changed.body).toMatchObject({ metadata: { tier: '2' }, prices: { EUR: '230' } })
    expect(changed.body.metadata).toEqual({ tier: '2' })
    expect(changed.body.prices).toEqual({ EUR: '230' })
    expect((await patch('/products/pro', change)).body).toEqual(changed.body)
    expect((await get('/products/pro')).body).toEqual(changed.body)
    expect((await eventsOf()).filter((event) => event === 'product.updated')).toHaveLength(1)
    expect((await patch('/products/none', { name: 'N' })).status).toBe(404)
  })

  test.each([
    [{ prices: { USD: '0' } }, 'prices.USD'],
    [{ prices: { ZZZ: '1' } }, 'prices.ZZZ'],
  ])('are refused with a price that cannot be: %j', async (change, path) => {
    const refused = await post('/products', { ...PRO, ...change })
    expect(refused).toMatchObject({ status: 400, body: { errors: [{ path }] } })
    expect((await get('/products')).body).toMatchObject({ products: [] })
  })

  test('have at most 50 texts and 50 prices, however often they change, and one call may exchange all', async () => {
    const named = (letter: string, text: string | null) =>
      Object.fromEntries([...Array(50)].map((_, index) => [`${letter}${index}`, text]))
    await post('/products', { ...PRO, metadata: named('a', 'x') })
    const more = await patch('/products/pro', { name: 'Other', metadata: { b0: 'y' } })
    expect(more).toMatchObject({ status: 400, body: { errors: [{ path: 'metadata' }] } })
    expect((await get('/products/pro')).body).toMatchObject({ name: 'Pro', metadata: named('a', 'x') })
    const exchanged = await patch('/products/pro', { metadata: { ...named('a', null), ...named('b', 'y') } })
    expect([exchanged.status, exchanged.body.metadata]).toEqual([200, named('b', 'y')])
    const prices = Object.fromEntries(CURRENCIES.map((currency) => [currency, '1']))
    expect((await patch('/products/pro', { prices })).body.errors).toMatchObject([{ path: 'prices' }])
    expect((await post('/products', { ...PRO, key: 'large', metadata: named('b', 'y') })).status).toBe(201)
  })

  test('are rehearsed without being stored', async () => {
    expect((await post('/products?dry_run=true', PRO)).status).toBe(201)
    expect((await get('/products/pro')).status).toBe(404)
    await post('/products', PRO)
    expect((await patch('/products/pro?dry_run=true', { name: 'Other' })).body).toMatchObject({ name: 'Other' })
    expect((await get('/products/pro')).body).toMatchObject({ name: 'Pro' })
  })

  test('show their plans by currency, the shortest period first, each in the version in effect', async () => {
    await post('/products', PRO)
    await plan('year-usd', 'USD', 'year')
    await plan('month-usd', 'USD', 'month')
    await plan('quarter-eur', 'EUR', 'quarter')
    await plan('two-months-usd', 'USD', 'month', { every: 2 })
    await plan('none', 'USD', 'month', { product: null })
    const { plans } = (await get('/products/pro')).body
    expect(keysOf(plans)).toEqual(['quarter-eur', 'month-usd', 'two-months-usd', 'year-usd'])
    expect((plans as object[])[1]).toEqual({
      ...{ key: 'month-usd', version: 1, name: 'month-usd', currency: 'USD', interval: 'month', every: 1 },
      ...{ kind: 'base', archived_at: null },
    })
    await post('/plans/month-usd/versions', { ...PLAN_CONTENT, name: 'Dearer' })
    await post('/plans/year-usd/versions', {
      ...{ ...PLAN_CONTENT, interval: 'year', name: 'Later', effective_from: '2025-01-01T00:00:00Z' },
    })
    const now = (await get('/products/pro')).body.plans as { key: string; version: number; name: string }[]
    expect(now.find(({ key }) => key === 'month-usd')).toMatchObject({ version: 2, name: 'Dearer' })
    expect(now.find(({ key }) => key === 'year-usd')).toMatchObject({ version: 1 })
    expect(keysOf((await get('/plans?product=pro')).body.plans).sort()).toEqual(keysOf(now).sort())
    expect((await get('/plans?product=nothing')).status).toBe(404)
  })
})
const CURRENCIES = Intl.supportedValuesOf('currency').filter(isCurrency).slice(0, 51)
const PLAN_CONTENT = {
  ...{ name: 'x', currency: 'USD', interval: 'month' },
  charges: [{ key: 'base', name: 'Base', price: { model: 'flat', amount: '30' } }],
}

describe('the product of a plan', () => {
  test('stands beside its versions: its hash is the same in none, one and another', async () => {
    await post('/products', PRO)
    await post('/products', { ...PRO, key: 'team' })
    const alone = await plan('alone', 'USD', 'month', { product: null })
    const inside = await plan('inside', 'USD', 'month')
    expect(inside).toMatchObject({ status: 201, body: { product: 'pro', archived_at: null } })
    expect(inside.body.hash).toBe(alone.body.hash)
    expect((await patch('/plans/inside', { product: 'team' })).body).toEqual({ ...inside.body, product: 'team' })
    expect((await patch('/plans/inside', { product: 'team' })).body).toMatchObject({ product: 'team' })
    expect((await eventsOf()).filter((event) => event === 'plan.listed')).toHaveLength(2)
    expect(keysOf((await get('/products/team')).body.plans)).toEqual(['inside'])
    expect((await patch('/plans/inside', { product: null })).body).toMatchObject({ product: null })
    expect((await patch('/plans/inside', { product: 'none' })).status).toBe(400)
    expect((await patch('/plans/none', { product: 'pro' })).status).toBe(404)
  })

  test('is as it is where the same plan is created again, and another one is refused', async () => {
    await post('/products', PRO)
    expect((await plan('basic', 'USD', 'month')).status).toBe(201)
    expect((await plan('basic', 'USD', 'month')).status).toBe(200)
    expect((await plan('basic', 'USD', 'month', { product: undefined })).body).toMatchObject({ product: 'pro' })
    expect((await plan('basic', 'USD', 'month', { product: null })).status).toBe(409)
    expect((await plan('other', 'USD', 'month', { product: 'none' })).status).toBe(400)
    expect((await get('/plans/other')).status).toBe(404)
  })
})

describe('a subscription by product', () => {
  const monthly = { product: 'pro', interval: 'month' }
  beforeEach(async () => {
    await post('/products', PRO)
    await plan('month-usd', 'USD', 'month')
    await plan('month-eur', 'EUR', 'month')
    await plan('year-usd', 'USD', 'year')
    await customer('ann')
    await customer('bob', 'EUR')
  })

  test('is on its plan in the currency of the customer', async () => {
    expect(await subscribe('ann', monthly)).toMatchObject({ status: 201, body: { plan: 'month-usd' } })
    expect(await subscribe('bob', monthly)).toMatchObject({ status: 201, body: { plan: 'month-eur' } })
    expect(await subscribe('ann-2', { ...monthly, interval: 'year' }, 'ann')).toMatchObject({
      body: { plan: 'year-usd' },
    })
  })

  test('is refused where not exactly one plan fits, and says which do', async () => {
    const none = await subscribe('bob', { ...monthly, interval: 'year' })
    expect(none).toMatchObject({ status: 400, body: { errors: [{ path: 'product' }] } })
    expect((await subscribe('ann', { ...monthly, every: 2 })).status).toBe(400)
    await plan('month-usd-2', 'USD', 'month')
    const two = await subscribe('ann', monthly)
    expect(JSON.stringify(two.body.errors)).toContain('2 plans (month-usd, month-usd-2)')
    await patch('/plans/month-usd', { archived: true })
    expect(await subscribe('ann', monthly)).toMatchObject({ status: 201, body: { plan: 'month-usd-2' } })
  })

  test('sent again is the same, though its product has more plans by now', async () => {
    const created = await subscribe('ann', monthly)
    await plan('month-usd-2', 'USD', 'month')
    expect(await subscribe('ann', monthly)).toEqual({ status: 200, body: created.body })
    await patch('/plans/month-usd', { archived: true })
    expect(await subscribe('ann', monthly)).toEqual({ status: 200, body: created.body })
    expect((await subscribe('ann', { ...monthly, interval: 'year' })).status).toBe(409)
  })

  test('sent again is a conflict once its plan was moved out of the product, and the same by that plan', async () => {
    const created = await subscribe('ann', monthly)
    await patch('/plans/month-usd', { product: null })
    const again = await subscribe('ann', monthly)
    expect(again.status).toBe(409)
    expect(JSON.stringify(again.body)).toContain('month-usd')
    await plan('month-usd-2', 'USD', 'month')
    expect((await subscribe('ann', monthly)).status).toBe(409)
    expect(await subscribe('ann', { plan: 'month-usd' })).toEqual({ status: 200, body: created.body })
  })

  test('may be a draft at first, and takes the plan that fits as it is activated', async () => {
    expect((await subscribe('ann', { ...monthly, draft: true })).status).toBe(201)
    await patch('/plans/month-usd', { archived: true })
    expect((await post('/subscriptions/ann/activate', {})).status).toBe(400)
    await plan('month-usd-2', 'USD', 'month')
    expect(await post('/subscriptions/ann/activate', {})).toMatchObject({ status: 201, body: { plan: 'month-usd-2' } })
  })

  test.each([{}, { product: 'pro' }, { interval: 'month' }, { plan: 'month-usd', product: 'pro', interval: 'month' }])(
    'names a plan, or else a product and an interval: %j is refused',
    async (to) => {
      expect(await subscribe('ann', to)).toMatchObject({ status: 400, body: { errors: [{ path: 'plan' }] } })
    },
  )

  test('is refused with a product or customer that is not there', async () => {
    expect(await subscribe('ann', { ...monthly, product: 'none' })).toMatchObject({
      ...{ status: 400, body: { errors: [{ path: 'product' }] } },
    })
    expect(await subscribe('eve', monthly)).toMatchObject({ status: 400, body: { errors: [{ path: 'customer' }] } })
  })
})

describe('an archived plan', () => {
  test.each([
    ['itself', '/plans/month-usd'],
    ['by its product', '/products/pro'],
  ])('%s takes no new subscription and no change, and those that have it go on', async (_what, url) => {
    await post('/products', PRO)
    await plan('month-usd', 'USD', 'month')
    await plan('free', 'USD', 'month', { product: null })
    for (const one of ['ann', 'bob', 'eve']) await customer(one)
    const before = await subscribe('ann', { plan: 'month-usd' })
    await subscribe('bob', { plan: 'free' })
    expect((await patch(url, { archived: true })).body).toMatchObject({ archived_at: '2024-01-10T12:00:00.000Z' })
    expect(await subscribe('eve', { plan: 'month-usd' })).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'plan' }] },
    })
    expect((await get('/subscriptions/eve')).status).toBe(404)
    expect((await patch('/subscriptions/bob', { plan: 'month-usd' })).status).toBe(400)
    expect((await get('/subscriptions/bob')).body).toMatchObject({ plan: 'free', pending_plan: null })
    // The same call as before is answered, and who is on it may take its newer version.
    expect(await subscribe('ann', { plan: 'month-usd' })).toEqual({ status: 200, body: before.body })
    await post('/plans/month-usd/versions', PLAN_CONTENT)
    expect(await patch('/subscriptions/ann', { plan: 'month-usd', when: 'now' })).toMatchObject({
      ...{ status: 200, body: { plan: 'month-usd', plan_version: 2 } },
    })
    await patch(url, { archived: false })
    expect((await subscribe('eve', { plan: 'month-usd' })).status).toBe(201)
  })

  test('stays the plan to come of who was to move to it, also as quantities are told, and comes no earlier', async () => {
    const seats = { key: 'seats', name: 'Seats', quantity: { default: '1' } }
    await plan('free', 'USD', 'month', { product: null })
    await plan('team', 'USD', 'month', {
      product: null,
      charges: [{ ...seats, price: { model: 'per_unit', unit_amount: '10' } }],
    })
    for (const one of ['ann', 'bob']) {
      await customer(one)
      await subscribe(one, { plan: 'free' })
    }
    const change = { plan: 'team', when: 'period_end', quantities: { seats: '8' } }
    const before = await patch('/subscriptions/ann', change)
    expect(before).toMatchObject({
      status: 200,
      body: { pending_plan: { plan: 'team', at: '2024-02-01T00:00:00.000Z' } },
    })
    await patch('/plans/team', { archived: true })
    expect(await patch('/subscriptions/ann', change)).toEqual(before)
    expect((await patch('/subscriptions/ann', { ...change, quantities: { seats: '9' } })).status).toBe(200)
    expect((await patch('/subscriptions/ann', { ...change, when: 'now' })).status).toBe(400)
    expect((await patch('/subscriptions/bob', change)).status).toBe(400)
  })

  test('is archived once, and keeps since when', async () => {
    await plan('basic', 'USD', 'month', { product: null })
    const archived = await patch('/plans/basic', { archived: true })
    clock.nowMs += 60_000
    expect((await patch('/plans/basic', { archived: true })).body).toEqual(archived.body)
    clock.nowMs -= 60_000
    expect((await get('/plans')).body).toMatchObject({
      plans: [{ key: 'basic', archived_at: archived.body.archived_at }],
    })
  })
})
