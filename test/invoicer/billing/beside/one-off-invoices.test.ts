import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { keepDoing } from '../../../../invoicer/collection/credits/keep-doing.ts'
import { besideChore } from '../../../../invoicer/collection/payments/collect-beside.ts'
import type { Gateway } from '../../../../invoicer/collection/payments/gateway.ts'
import { tenantsWithUnpaidBeside } from '../../../../invoicer/collection/payments/payments.postgres.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { type Answer, buildDoors } from '../../support/doors.ts'
import { createWorld, DECEMBER, NOVEMBER, type World } from '../../support/world.ts'

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

type Body = Record<string, unknown>
type Shop = World & {
  post: (url: string, body: object, key?: string) => Promise<Answer>
  get: (url: string) => Promise<Body>
  patch: (url: string, body: object) => Promise<Answer>
  logged: () => Record<string, unknown>[]
  item: (key: string, amount: string, more?: object) => Promise<Answer>
  issue: (key: string, body?: object) => Promise<Answer>
}

/** In the middle of November: Greek consumers `ann` and `bob` with 24 % VAT, a fee of 20.00 a month. */
async function openShop(gateway?: Gateway): Promise<Shop> {
  worlds += 1
  const world = await createWorld(database, `one-off-${worlds}`)
  world.clock.nowMs = NOVEMBER + 300 * HOUR_MS
  const means = { usage: world.deps.usage, now: world.now, newId: world.newId }
  const doors = buildDoors(database, { ...means, ...(gateway ? { gateway } : {}) })
  closing.push(() => doors.app.close())
  const post: Shop['post'] = async (url, payload, key) => {
    const headers = { 'x-tenant': String(world.tenantId), ...(key === undefined ? {} : { 'idempotency-key': key }) }
    const response = await doors.app.inject({ method: 'POST', url: `/api/v1${url}`, headers, payload })
    return { status: response.statusCode, body: response.json() }
  }
  const seller = { key: 'hellas', name: 'Hellas', country: 'GR', number_prefix: 'HEL' }
  await post('/legal-entities', { ...seller, tax_registrations: [{ country: 'GR', number: 'EL123456789' }] })
  await world.plan({ charges: [{ key: 'base', name: 'Base', meter: null, price: { model: 'flat', amount: '20.00' } }] })
  for (const name of ['ann', 'bob']) await world.subscribe(name, { endMs: null })
  for (const name of ['ann', 'bob']) {
    await doors.call(world.tenantId, 'PATCH', `/customers/${name}`, {
      kind: 'consumer',
      billing_address: { country: 'GR' },
    })
  }
  return {
    ...world,
    post,
    patch: (url, body) => doors.call(world.tenantId, 'PATCH', url, body),
    logged: () => doors.logger.info.mock.calls.map(([members]) => members),
    get: async (url) => (await doors.call(world.tenantId, 'GET', url)).body,
    item: (external_key, amount, more = {}) =>
      post('/invoice-items', { external_key, customer: 'ann', description: 'Setup', amount, ...more }),
    issue: (key, body = {}) => post('/invoices', { customer: 'ann', ...body }, key),
  }
}

const list = async (shop: Shop) => (await shop.get('/invoices?customer=ann')).invoices as Body[]

/** Issue 7: one-time items; billing-rules: order on an invoice. */
describe('POST /invoices issues what waits for a customer now', () => {
  test('taxed, numbered and paid, without a subscription; the same key answers the same invoice', async () => {
    const shop = await openShop()
    await shop.item('setup', '100.00')
    await shop.item('half', '25.50')
    const issued = await shop.issue('k1')
    expect(issued).toMatchObject({
      status: 200,
      body: {
        ...{ number: 'HEL-000001', state: 'paid', subscription_id: null, plan: null, billing_run_id: null },
        ...{ subtotal: '125.50', tax: '30.12', total: '155.62', amount_due: '155.62', amount_remaining: '0.00' },
        lines: [
          { description: 'Setup', amount: '100.00', plan: null, tax: { rate_percent: '24', code: 'GR-VAT' } },
          { amount: '25.50', tax: { amount: '6.12' } },
        ],
      },
    })
    const { id } = issued.body
    expect(await shop.issue('k1')).toEqual(issued)
    expect((await shop.issue('k1', { items: ['setup'] })).status).toBe(409)
    // Nothing waits any more.
    expect((await shop.issue('k2')).status).toBe(409)
    expect(await shop.get(`/invoices/${String(id)}/verification`)).toMatchObject({ equal: true, checked: { lines: 2 } })
    expect(await shop.get(`/invoices/${String(id)}/lines/0/explain`)).toMatchObject({ equal: true, amount: '100.00' })
    const { events } = await shop.get(`/billing-events?invoice=${String(id)}`)
    expect((events as Body[]).map(({ event }) => event)).toEqual([
      ...['invoice.finalised', 'payment.created', 'payment.succeeded', 'invoice.paid'],
    ])
    // The run bills the period without them.
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    expect((await list(shop)).map(({ subtotal }) => subtotal)).toEqual(['125.50', '20.00'])
  })

  test('charged once: where the gateway did not answer, the same call asks again with the same key', async () => {
    const asked: string[] = []
    const gateway: Gateway = {
      name: 'manual',
      charge: async ({ idempotencyKey }) => {
        asked.push(idempotencyKey)
        if (asked.length === 1) throw new Error('no answer')
        return { outcome: 'succeeded', reference: 'r1' }
      },
    }
    const shop = await openShop(gateway)
    await shop.item('setup', '100.00')
    expect((await shop.issue('k1')).body).toMatchObject({ number: 'HEL-000001', state: 'finalised' })
    expect((await shop.issue('k1')).body).toMatchObject({ number: 'HEL-000001', state: 'paid' })
    expect((await shop.issue('k1')).body).toMatchObject({ state: 'paid' })
    expect(asked).toEqual([asked[0], asked[0]])
  })

  test('charged by itself where the caller does not come back: in a minute, with the same key, not if it was declined', async () => {
    const asked: string[] = []
    const answers = ['', '', 'succeeded', 'declined']
    const gateway: Gateway = {
      name: 'manual',
      charge: async ({ idempotencyKey }) => {
        asked.push(idempotencyKey)
        const answer = answers[asked.length - 1]
        if (answer === 'declined') return { outcome: answer, reason: 'no money' }
        if (answer === 'succeeded') return { outcome: answer, reference: 'r1' }
        throw new Error('no answer')
      },
    }
    const shop = await openShop(gateway)
    const logger = { error: vi.fn() }
    const deps = { ...shop.deps, gateway, stopping: () => false }
    const chore = besideChore(deps, (untilMs) => tenantsWithUnpaidBeside(database.pool, untilMs))
    const charging = keepDoing([chore], { now: shop.now, logger }, new AbortController().signal)
    await shop.item('setup', '100.00')
    expect((await shop.issue('k1')).body).toMatchObject({ state: 'finalised' })
    await charging.pass()
    expect(asked).toHaveLength(1)
    shop.clock.nowMs += 60_000
    await charging.pass()
    expect(await list(shop)).toMatchObject([{ state: 'finalised' }])
    await charging.pass()
    expect(await list(shop)).toMatchObject([{ state: 'paid' }])
    expect(asked).toEqual([asked[0], asked[0], asked[0]])
    await shop.item('more', '1.00')
    await shop.issue('k2')
    shop.clock.nowMs += 60_000
    await charging.pass()
    expect(asked).toHaveLength(4)
    expect(await tenantsWithUnpaidBeside(database.pool, shop.now())).not.toContain(shop.tenantId)
    expect(logger.error).not.toHaveBeenCalled()
  })

  /** HC-9, HC-10. */
  test('told of once, below 0 too; and of whom it is, where somebody else pays', async () => {
    const shop = await openShop()
    const told = () =>
      shop
        .logged()
        .filter(({ event }) => event === 'invoice_finalised')
        .map((line) => `${line.user_id} ${line.amount}`)
    await shop.item('setup', '100.00')
    await Promise.all(['k1', 'k1'].map((key) => shop.issue(key)))
    await shop.issue('k1')
    expect(told()).toEqual(['ann 124.00'])
    expect(await shop.patch('/customers/ann', { parent: 'bob', pays: 'parent' })).toMatchObject({ status: 200 })
    await shop.item('less', '-10.00')
    const { body } = await shop.issue('k2')
    expect(body).toMatchObject({ customer: { external_key: 'bob' }, on_behalf_of: { external_key: 'ann' } })
    expect(told()).toEqual(['ann 124.00', 'bob -12.40'])
    expect(await list(shop)).toMatchObject([{ on_behalf_of: null }])
  })

  test('at most a thousand: what is more waits for the next one', async () => {
    const shop = await openShop()
    await shop.item('first', '0.01')
    await shop.transact(shop.tenantId, (tx) =>
      tx.query(`INSERT INTO invoice_items (tenant_id, id, kind, external_key, customer_id, charge_key, description, amount_minor,
          currency, breakdown, created_at)
        SELECT tenant_id, gen_random_uuid(), kind, 'k' || n, customer_id, 'k' || n, description, amount_minor, currency,
          breakdown, created_at FROM invoice_items, generate_series(1, 1001) AS n`),
    )
    expect((await shop.issue('k1')).body).toMatchObject({ subtotal: '10.00' })
    expect((await shop.issue('k2')).body).toMatchObject({ subtotal: '0.02' })
  })

  test('those that are named, or all that name no subscription', async () => {
    const shop = await openShop()
    await shop.item('a', '1.00')
    await shop.item('b', '2.00')
    await shop.item('of-subscription', '4.00', { subscription: 'ann' })
    expect((await shop.issue('k1', { items: ['of-subscription'] })).body).toMatchObject({ subtotal: '4.00' })
    expect((await shop.issue('k2')).body).toMatchObject({ subtotal: '3.00' })
    expect((await shop.issue('k3', { items: ['a'] })).status).toBe(409)
    await shop.item('bobs', '8.00', { customer: 'bob' })
    expect((await shop.issue('k4', { items: ['bobs'] })).status).toBe(409)
    expect((await shop.issue('k5', { customer: 'nobody' })).status).toBe(404)
  })

  test('credit pays it first, then the balance; voided, it gives all back and its items wait again', async () => {
    const shop = await openShop()
    await shop.post('/customers/ann/credits', { external_key: 'gift', amount: '5.00' })
    await shop.item('given', '-10.00')
    expect((await shop.issue('k1')).body).toMatchObject({ total: '-12.40', balance: '-12.40', state: 'paid' })
    await shop.item('setup', '10.00')
    const { body } = await shop.issue('k2')
    expect(body).toMatchObject({ total: '12.40', credit: '5.00', balance: '7.40', amount_due: '0.00', state: 'paid' })
    expect(shop.charged).toEqual([])
    const voided = await shop.post(`/invoices/${String(body.id)}/void`, { reason: 'wrong' }, 'v1')
    expect(voided).toMatchObject({ status: 200, body: { state: 'void' } })
    expect(await shop.get('/customers/ann/credits')).toMatchObject({ balance: '5.00' })
    expect(await shop.get('/customers/ann/balance')).toMatchObject({ balances: [{ balance: '12.40' }] })
    expect((await shop.post(`/invoices/${String(body.id)}/reissue`, { reason: 'again' }, 'v2')).status).toBe(409)
    expect((await shop.issue('k3')).body).toMatchObject({ total: '12.40', number: 'HEL-000003' })
  })

  test('a credit note gives its lines back with their tax, whose class they keep', async () => {
    const shop = await openShop()
    const books = { tax_class: 'books', country: 'GR', rate_percent: '24', effective_from: '2020-01-01' }
    expect((await shop.post('/tax-rates', books)).status).toBe(201)
    await shop.item('setup', '100.00', { tax_class: 'books' })
    const { id, lines } = (await shop.issue('k1')).body
    expect(lines).toMatchObject([{ tax: { code: 'GR-VAT', tax_class: 'books', region: null } }])
    const noted = await shop.post(`/invoices/${String(id)}/credit-notes`, { reason: 'half', amount: '62.00' }, 'n1')
    expect(noted).toMatchObject({ status: 201, body: { subtotal: '50.00', tax: '12.00', to_balance: '62.00' } })
    expect(await shop.get(`/invoices/${String(id)}/verification`)).toMatchObject({ equal: true })
  })

  test('once, though it is asked for by several at once while a run bills; every item is on one invoice', async () => {
    const shop = await openShop()
    for (const key of ['a', 'b', 'c', 'd']) await shop.item(key, '1.00')
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    const [, ...answers] = await Promise.all([shop.run(), ...['k1', 'k1', 'k2', 'k2'].map((key) => shop.issue(key))])
    for (const { status } of answers) expect([200, 409]).toContain(status)
    const invoices = await list(shop)
    const items = invoices.flatMap(({ lines }) => (lines as Body[]).filter(({ charge }) => charge !== 'base'))
    expect(items.map(({ amount }) => amount)).toEqual(['1.00', '1.00', '1.00', '1.00'])
    const all = (await shop.get('/invoices')).invoices as Body[]
    const numbers = all.map(({ number }) => Number(String(number).slice(4))).toSorted((a, b) => a - b)
    expect(numbers).toEqual(numbers.map((_, index) => index + 1))
  })

  test('not where its tax is not known: nothing is issued, and what waits goes on waiting', async () => {
    const shop = await openShop()
    await shop.post('/customers', { external_key: 'cy', currency: 'USD', subjects: ['cy'] })
    await shop.item('setup', '1.00', { customer: 'cy' })
    const refused = await shop.issue('k1', { customer: 'cy' })
    expect(refused.status).toBeGreaterThanOrEqual(400)
    expect(JSON.stringify(refused.body)).toContain('set the country of its billing address')
    expect(await shop.get('/invoice-items/setup')).toMatchObject({ state: 'pending' })
  })
})
