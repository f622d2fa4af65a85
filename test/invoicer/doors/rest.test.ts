import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { PERMISSIONS } from '../../../schemas/http/permissions.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../support/test-database.ts'
import { buildDoors } from '../support/doors.ts'
import { createMeter } from '../support/world.ts'

let database: TestDatabase
let doors: ReturnType<typeof buildDoors>
let tenant: number
let other: number
beforeAll(async () => {
  database = await createTestDatabase()
  doors = buildDoors(database)
  await doors.app.ready()
  tenant = await database.createTenant('one')
  other = await database.createTenant('two')
  for (const id of [tenant, other]) await createMeter(database, id, 'tokens')
})
afterAll(async () => {
  await doors.invoicer.stop()
  await doors.app.close()
  await database.drop()
})

const post = (url: string, body: object, as = tenant) => doors.call(as, 'POST', url, body)
const get = (url: string, as = tenant) => doors.call(as, 'GET', url)
const customer = (key: string, change: object = {}) => ({
  external_key: key,
  currency: 'USD',
  subjects: [key],
  ...change,
})
const flat = { key: 'base', name: 'Base', price: { model: 'flat', amount: '20.00' } }
const metered = { key: 'use', name: 'Use', meter: 'tokens', price: { model: 'per_unit', unit_amount: '0.1' } }
const plan = (key: string, change: object = {}) => ({
  key,
  name: 'Plan',
  currency: 'USD',
  interval: 'month',
  fees: 'in_arrears',
  charges: [flat, metered],
  ...change,
})
const subscription = (key: string, change: object = {}) => ({
  external_key: key,
  customer: 'ann',
  plan: 'basic',
  start: '2023-11-01T00:00:30.5Z',
  ...change,
})
const UUID = expect.stringMatching(/^[0-9a-f-]{36}$/)

beforeAll(async () => {
  await post('/customers', customer('ann'))
  await post('/plans', plan('basic'))
})

describe('customers (TCP-1, TCP-2)', () => {
  test('are created once per external key: the same again answers the stored one', async () => {
    const body = customer('bob', {
      name: 'Bob',
      email: 'bob@example.org',
      timezone: 'Europe/Berlin',
      subjects: ['b2', 'b1'],
    })
    const first = await post('/customers', body)
    expect(first).toMatchObject({ status: 201 })
    expect(first.body).toEqual({
      id: UUID,
      external_key: 'bob',
      name: 'Bob',
      email: 'bob@example.org',
      stripe_customer_id: null,
      currency: 'USD',
      timezone: 'Europe/Berlin',
      subjects: ['b1', 'b2'],
      kind: 'business',
      billing_address: null,
      tax_ids: [],
      tax_exemption: null,
      legal_entity: null,
      ...{ parent: null, pays: 'self', consolidate: false },
      created_at: expect.stringMatching(/Z$/),
    })
    expect(await post('/customers', { ...body, subjects: ['b1', 'b2'] })).toEqual({ ...first, status: 200 })
    expect(await get(`/customers/${first.body.id}`)).toEqual({ ...first, status: 200 })
    expect(await get('/customers/bob')).toEqual({ ...first, status: 200 })
    expect((await get('/customers?external_key=bob')).body).toEqual({ customers: [first.body], next: null })
  })

  test('conflict with other content under the same key, and with a subject that has a customer', async () => {
    expect(await post('/customers', customer('ann', { name: 'Anna' }))).toMatchObject({
      status: 409,
      body: { code: 'conflict' },
    })
    const taken = await post('/customers', customer('eve', { subjects: ['eve', 'ann'] }))
    expect(taken).toMatchObject({ status: 409, body: { errors: [{ path: 'subjects.1' }] } })
    expect(await get('/customers/eve')).toMatchObject({ status: 404 })
  })

  test('are named by id before external key: a key that is the id of another customer names nobody else', async () => {
    const own = await post('/customers', customer('named', { subjects: ['named'] }))
    const id = own.body.id as string
    const shadow = await post('/customers', customer(id, { subjects: ['shadow'] }))
    expect(shadow).toMatchObject({ status: 201 })
    expect((await get(`/customers/${id}`)).body).toEqual(own.body)
    expect((await get(`/customers/${shadow.body.id}`)).body).toEqual(shadow.body)
    await post('/subscriptions', subscription('of-named', { customer: id }))
    const ofShadow = await post('/subscriptions', subscription('of-shadow', { customer: shadow.body.id }))
    for (const [name, key] of [
      [id, 'of-named'],
      [shadow.body.id, 'of-shadow'],
    ]) {
      const { subscriptions } = (await get(`/subscriptions?customer=${name}`)).body as { subscriptions: object[] }
      expect(subscriptions).toMatchObject([{ external_key: key }])
      const { events } = (await get(`/billing-events?customer=${name}`)).body as { events: object[] }
      expect(events).toHaveLength(2)
    }
    expect(ofShadow.body.customer_id).toBe(shadow.body.id)
  })

  test('created by ten callers at once are one', async () => {
    const answers = await Promise.all(Array.from({ length: 10 }, () => post('/customers', customer('crowd'))))
    expect(answers.map(({ status }) => status).sort()).toEqual([...Array(9).fill(200), 201])
    expect(new Set(answers.map(({ body }) => body.id)).size).toBe(1)
  })

  test.each([
    ['an unknown currency', { currency: 'ABC' }],
    ['an unknown zone', { timezone: 'Mars/Base' }],
    ['an unknown member', { colour: 'red' }],
    ['a control character', { name: 'a\u0000b' }],
    ['a lone surrogate', { external_key: '\ud800' }],
    ['no subjects member', { subjects: undefined }],
  ])('with %s are refused', async (_, change) => {
    expect(await post('/customers', customer('bad', change))).toMatchObject({
      status: 400,
      body: { code: 'invalid_request' },
    })
  })

  test('are listed in pages', async () => {
    const one = await get('/customers?limit=1')
    const two = await get(`/customers?limit=1&after=${one.body.next}`)
    expect(one.body.customers).toHaveLength(1)
    expect(two.body.customers).toHaveLength(1)
    expect(two.body.customers).not.toEqual(one.body.customers)
    expect(await get('/customers?limit=0')).toMatchObject({ status: 400 })
  })
})

describe('plans', () => {
  test('are created once per key, with defaults filled in', async () => {
    const first = await post('/plans', plan('gold'))
    expect(first).toMatchObject({ status: 201, body: { alignment: 'anniversary', grace_seconds: 3600 } })
    expect(first.body.charges).toEqual([{ ...flat, meter: null }, metered])
    const spelled = plan('gold', {
      alignment: 'anniversary',
      grace_seconds: 3600,
      charges: [{ ...flat, meter: null }, metered],
    })
    expect(await post('/plans', spelled)).toEqual({ ...first, status: 200 })
    expect(await get('/plans/gold')).toEqual({ ...first, status: 200 })
    expect(await post('/plans', plan('gold', { name: 'Other' }))).toMatchObject({ status: 409 })
    expect(await post('/plans', plan('gold', { charges: [metered, flat] }))).toMatchObject({ status: 409 })
    expect((await get('/plans')).body.plans).toContainEqual(first.body)
  })

  test('are answered again though their meter was archived since', async () => {
    await createMeter(database, tenant, 'passing')
    const body = plan('of-passing', { charges: [{ ...metered, meter: 'passing' }] })
    const first = await post('/plans', body)
    expect(first.status).toBe(201)
    await withTenant(database.pool, tenant, (tx) =>
      tx.query("UPDATE meters SET archived_at = now() WHERE slug = 'passing'"),
    )
    expect(await post('/plans', body)).toEqual({ ...first, status: 200 })
    expect(await post('/plans', { ...body, key: 'new-of-passing' })).toMatchObject({ status: 400 })
    expect(await post('/plans', { ...body, name: 'Other' })).toMatchObject({ status: 400 })
  })

  test.each([
    ['an unknown meter', [{ ...metered, meter: 'nothing' }], 'charges.0.meter'],
    ['a flat price with a meter', [{ ...flat, meter: 'tokens' }], 'charges.0.meter'],
    ['a unit price without meter', [flat, { ...metered, meter: undefined }], 'charges.1.meter'],
    ['two charges of one key', [flat, flat], 'charges.1.key'],
    ['a negative price', [{ ...flat, price: { model: 'flat', amount: '-1' } }], 'charges.0.price.amount'],
    [
      'tiers that do not end open',
      [{ ...metered, price: { model: 'graduated', tiers: [{ up_to: '5', unit_amount: '1' }] } }],
      'charges.0.price.tiers.0.up_to',
    ],
    [
      'a price without a member of its model',
      [{ ...metered, price: { model: 'dynamic' } }],
      'charges.0.price.multiplier',
    ],
    [
      'a number as a price',
      [{ ...metered, price: { model: 'per_unit', unit_amount: 5 } }],
      'charges.0.price.unit_amount',
    ],
    [
      'a dimension that is no path inside the data of events',
      [{ ...metered, price: { model: 'matrix', dimensions: ['a b'], cells: [], default_unit_amount: '1' } }],
      'charges.0.price.dimensions.0',
    ],
    ['properties of events that a fee has none of', [{ ...flat, attributes: ['payer'] }], 'charges.0.attributes'],
  ])('with %s are refused', async (_, charges, path) => {
    const answer = await post('/plans', plan('bad', { charges }))
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request', errors: [{ path }] } })
  })

  test('with a price of an unknown shape are refused', async () => {
    const charges = [{ ...flat, price: { model: 'flat', amount: '1', extra: true } }]
    expect(await post('/plans', plan('bad', { charges }))).toMatchObject({ status: 400 })
    expect(await post('/plans', plan('bad', { charges: [] }))).toMatchObject({ status: 400 })
  })
})

describe('prepaid credit', () => {
  test('is given once per external key, and read with the balance', async () => {
    const credit = { external_key: 'gift', amount: '39.00', expires_at: '2099-01-01T00:00:00Z' }
    const first = await post('/customers/ann/credits', credit)
    expect(first).toEqual({
      status: 201,
      body: {
        ...{
          id: UUID,
          external_key: 'gift',
          name: null,
          amount: '39.00',
          remaining: '39.00',
          currency: 'USD',
          priority: 0,
        },
        ...{ expires_at: '2099-01-01T00:00:00.000Z', created_at: expect.any(String) },
        ...{ scope: null, rollover: null, schedule_id: null, rolled_from: null, purchase_id: null },
      },
    })
    expect(await post('/customers/ann/credits', credit)).toEqual({ ...first, status: 200 })
    expect(await post('/customers/ann/credits', { ...credit, amount: '40.00' })).toMatchObject({ status: 409 })
    const balances = [{ scope: null, balance: '39.00' }]
    const body = { balance: '39.00', balances, currency: 'USD', credits: [first.body], next: null }
    expect(await get('/customers/ann/credits')).toEqual({ status: 200, body })
    expect(await get('/customers/ann/credit-uses')).toEqual({ status: 200, body: { uses: [], next: null } })
  })

  test.each([
    [{ amount: '0.00' }, 'amount'],
    [{ amount: '1.234' }, undefined],
    [{ amount: 5 }, undefined],
    [{ priority: 1001 }, undefined],
    [{ priority: 0.5 }, undefined],
    [{ expires_at: '2020-01-01T00:00:00Z' }, 'expires_at'],
  ])('of %j is refused', async (change, path) => {
    const answer = await post('/customers/ann/credits', { external_key: 'bad', amount: '1.00', ...change })
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    if (path !== undefined) expect(answer.body.errors).toMatchObject([{ path }])
  })

  test('of another tenant’s customer is not there', async () => {
    for (const url of ['/customers/ann/credits', '/customers/ann/credit-uses'])
      expect(await get(url, other)).toMatchObject({ status: 404 })
    const credit = { external_key: 'gift', amount: '39.00' }
    expect(await post('/customers/ann/credits', credit, other)).toMatchObject({ status: 404 })
  })
})

describe('subscriptions (TCP-2)', () => {
  test('are cancelled by PATCH, and taken back; what the state does not allow is refused', async () => {
    const patch = (key: string, body: object, as = tenant) => doors.call(as, 'PATCH', `/subscriptions/${key}`, body)
    await post('/customers', customer('quits'))
    const start = new Date(Date.now() - 3_600_000).toISOString()
    const { body } = await post('/subscriptions', subscription('quits-basic', { customer: 'quits', start }))
    const { end } = body.next_period as { end: string }
    const cancelled = await patch('quits-basic', { cancel: 'period_end' })
    expect(cancelled).toEqual({ status: 200, body: { ...body, state: 'cancelled', end } })
    expect(await patch('quits-basic', { cancel: 'period_end' })).toEqual(cancelled)
    expect(await get('/subscriptions/quits-basic')).toEqual(cancelled)
    expect(await patch('quits-basic', { cancel: null })).toEqual({ status: 200, body })
    expect(await patch('quits-basic', { cancel: 'now' })).toMatchObject({ status: 200, body: { state: 'cancelled' } })
    expect(await patch('quits-basic', { cancel: null })).toMatchObject({
      status: 409,
      body: { code: 'illegal_state', detail: expect.stringContaining('create a new subscription') },
    })
    for (const bad of [{}, { cancel: 'later' }, { cancel: 'now', at: start }]) {
      expect(await patch('quits-basic', bad)).toMatchObject({ status: 400, body: { code: 'invalid_request' } })
    }
    expect(await patch('quits-basic', { cancel: 'now' }, other)).toMatchObject({ status: 404 })
    expect(await patch('nobody', { cancel: 'now' })).toMatchObject({ status: 404 })
  })

  test('are created once per external key, from whole minutes', async () => {
    const first = await post('/subscriptions', subscription('ann-basic', { end: '2024-01-15T12:00:59Z' }))
    expect(first).toMatchObject({ status: 201 })
    expect(first.body).toMatchObject({
      id: UUID,
      external_key: 'ann-basic',
      customer_id: UUID,
      plan: 'basic',
      state: 'active',
      start: '2023-11-01T00:00:00.000Z',
      end: '2024-01-15T12:00:00.000Z',
      next_period: { start: '2023-11-01T00:00:00.000Z', end: '2023-12-01T00:00:00.000Z' },
    })
    const again = subscription('ann-basic', { end: '2024-01-15T13:00:00+01:00', customer: first.body.customer_id })
    expect(await post('/subscriptions', again)).toEqual({ ...first, status: 200 })
    expect(await post('/subscriptions', subscription('ann-basic'))).toMatchObject({ status: 409 })
    expect(await get('/subscriptions/ann-basic')).toEqual({ ...first, status: 200 })
    expect(await get(`/subscriptions/${first.body.id}`)).toEqual({ ...first, status: 200 })
    expect((await get('/subscriptions?customer=ann')).body.subscriptions).toEqual([first.body])
    expect((await get('/subscriptions?customer=nobody')).body.subscriptions).toEqual([])
  })

  test.each([
    ['an unknown customer', { customer: 'nobody' }, 'customer'],
    ['an unknown plan', { plan: 'nothing' }, 'plan'],
    ['an end in the minute of the start', { end: '2023-11-01T00:00:59Z' }, 'end'],
    ['a start long ago', { start: '1969-01-01T00:00:00Z' }, 'start'],
    ['a second that clocks seldom show', { start: '2016-12-31T23:59:60Z' }, 'start'],
  ])('with %s are refused', async (_, change, path) => {
    const answer = await post('/subscriptions', subscription('bad', change))
    expect(answer).toMatchObject({ status: 400, body: { code: 'invalid_request', errors: [{ path }] } })
  })

  test('that price one meter of one customer at one time are refused, whose usage both would bill', async () => {
    await post('/customers', customer('twice'))
    await post('/plans', plan('fee', { charges: [flat] }))
    const meter = { ...metered, key: 'more', price: { model: 'per_unit', unit_amount: '0.2' } }
    await post('/plans', plan('dear', { charges: [meter] }))
    const body = (key: string, change: object) => subscription(key, { customer: 'twice', ...change })
    const months = { start: '2023-11-01T00:00:00Z', end: '2024-02-01T00:00:00Z' }
    expect(await post('/subscriptions', body('t-first', months))).toMatchObject({ status: 201 })
    const overlapping = await post('/subscriptions', body('t-second', { plan: 'dear', start: '2024-01-31T23:59:00Z' }))
    expect(overlapping).toMatchObject({
      status: 409,
      body: { code: 'conflict', detail: expect.stringContaining('"t-first" of this customer prices meter "tokens"') },
    })
    expect(await get('/subscriptions/t-second')).toMatchObject({ status: 404 })
    // Before it, after it, without a meter, of another customer, or the same one again.
    const before = { plan: 'dear', start: '2023-01-01T00:00:00Z', end: months.start }
    expect(await post('/subscriptions', body('t-before', before))).toMatchObject({ status: 201 })
    expect(await post('/subscriptions', body('t-after', { plan: 'dear', start: months.end }))).toMatchObject({
      status: 201,
    })
    expect(await post('/subscriptions', body('t-fee', { plan: 'fee' }))).toMatchObject({ status: 201 })
    expect(await post('/subscriptions', body('t-first', months))).toMatchObject({ status: 200 })
    await post('/customers', customer('thrice'))
    const answers = await Promise.all(
      [1, 2, 3, 4].map((n) => post('/subscriptions', subscription(`crowd-${n}`, { customer: 'thrice' }))),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([201, 409, 409, 409])
  })

  test('of a plan in another currency than the customer pays are refused', async () => {
    await post('/customers', customer('euro', { currency: 'EUR' }))
    const answer = await post('/subscriptions', subscription('bad', { customer: 'euro' }))
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ path: 'plan' }] } })
  })
})

describe('the doors', () => {
  test('name a permission on every route', () => {
    expect(doors.permissions.length).toBeGreaterThanOrEqual(14)
    for (const permission of doors.permissions) expect(PERMISSIONS).toContain(permission)
  })

  test('never show one tenant what another has (EPIC-5)', async () => {
    const own = await post('/customers', customer('secret', { subjects: ['shared-subject'] }))
    expect(await get(`/customers/${own.body.id}`, other)).toMatchObject({ status: 404, body: { code: 'not_found' } })
    expect(await get('/customers/secret', other)).toMatchObject({ status: 404 })
    expect((await get('/customers', other)).body).toEqual({ customers: [], next: null })
    expect(await get('/plans/basic', other)).toMatchObject({ status: 404 })
    const foreign = await post('/subscriptions', subscription('x', { customer: own.body.id }), other)
    expect(foreign).toMatchObject({ status: 400 })
    expect(await post('/customers', customer('secret', { subjects: ['shared-subject'] }), other)).toMatchObject({
      status: 201,
    })
    const run = await post('/billing-runs', {}, tenant)
    expect(await get(`/billing-runs/${run.body.id}`, other)).toMatchObject({ status: 404 })
    expect(await get(`/billing-runs/${run.body.id}`, tenant)).toMatchObject({ status: 200 })
    const events = (await get('/billing-events', other)).body.events as { event: string }[]
    expect(events.map(({ event }) => event)).toEqual(['customer.created'])
    expect((await get('/invoices', other)).body).toEqual({ invoices: [], next: null })
  })

  test.each(['/invoices/none', '/billing-runs/none', '/customers/none', '/plans/none', '/subscriptions/none'])(
    'answer 404 for %s',
    async (url) => {
      expect(await get(url)).toMatchObject({ status: 404, body: { code: 'not_found' } })
    },
  )

  test('refuse a run as of the future', async () => {
    const answer = await post('/billing-runs', { as_of: '2099-01-01T00:00:00Z' })
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ path: 'as_of' }] } })
  })
})
