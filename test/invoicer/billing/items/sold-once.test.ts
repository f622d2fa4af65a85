import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { buildDoors } from '../../support/doors.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'
import { readerOf } from '../fees/fees-world.ts'
import { untilSomebodyWaits } from '../review/reviewed-world.ts'
import { AFTER, inGreece, openShop, type Shop } from '../tax/shop.ts'

/** Issue 7, the catalogue: products with plans and one-time prices, from the first call to the verified invoice. */
let database: TestDatabase
let shops = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** A shop that sells pro by the month, and its set-up once. */
async function open(): Promise<
  Shop & { ok: (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) => Promise<Body> }
> {
  shops += 1
  const world = await openShop(database, `sold-once-${shops}`)
  const events = readerOf(world.events)
  const doors = buildDoors(database, { usage: world.deps.usage, events, now: world.now, newId: world.newId })
  const call: Shop['call'] = (method, url, body) => doors.call(world.tenantId, method, url, body)
  const ok = async (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) => {
    const answer = await call(method, url, body)
    expect([answer.status < 300, answer.body]).toEqual([true, answer.body])
    return answer.body as Body
  }
  await ok('POST', '/products', { key: 'pro', name: 'Pro', prices: { USD: '12.345' } })
  await ok('POST', '/plans', {
    ...{ key: 'pro-month', name: 'Pro, a month', product: 'pro', currency: 'USD', interval: 'month' },
    ...{ alignment: 'calendar', fees: 'in_arrears' },
    charges: [
      { key: 'base', name: 'Base', price: { model: 'flat', amount: '20.00' } },
      { key: 'use', name: 'Use', meter: 'context_tokens', price: { model: 'per_unit', unit_amount: '0.01' } },
    ],
  })
  await ok('POST', '/customers', { external_key: 'ann', currency: 'USD', subjects: ['ann'], ...inGreece })
  return { ...world, call, ok }
}
type Body = Record<string, unknown>
type Line = { index: number; amount: string; description: string; plan_hash: string | null }
type Invoice = { id: string; plan_hash: string; subtotal: string; tax: string; total: string; lines: Line[] }

const item = (change: object = {}) => ({ external_key: 'setup', customer: 'ann', product: 'pro', ...change })
const errorsOf = (body: Body) => (body.errors as { path: string }[]).map(({ path }) => path)

describe('what a product costs once', () => {
  test('is billed with a subscription by that product, once and verified, at the price of when it was sold', async () => {
    const shop = await open()
    const month = { start: new Date(NOVEMBER).toISOString(), end: new Date(DECEMBER).toISOString() }
    const subscription = { external_key: 's', customer: 'ann', product: 'pro', interval: 'month', ...month }
    expect(await shop.ok('POST', '/subscriptions', subscription)).toMatchObject({ plan: 'pro-month' })
    const wanted = item({ quantity: '3', description: 'Set-up' })
    const made = await shop.ok('POST', '/invoice-items', wanted)
    // 3 × 12.345 is 37.035, rounded once.
    expect(made).toMatchObject({ product: 'pro', quantity: '3', unit_amount: '12.345', amount: '37.04' })
    await shop.ok('PATCH', '/products/pro', { prices: { USD: '99' }, archived: true })
    expect(await shop.call('POST', '/invoice-items', wanted)).toEqual({ status: 200, body: made })
    shop.use('ann', 'context_tokens', '1000', NOVEMBER)
    shop.clock.nowMs = AFTER
    await Promise.all([shop.run(), shop.run()])
    const { invoices } = await shop.ok('GET', '/invoices')
    expect(invoices).toHaveLength(1)
    const [invoice] = invoices as [Invoice]
    expect(invoice.lines.map(({ description, amount }) => `${description} ${amount}`)).toEqual([
      ...['Base 20.00', 'Use 10.00', 'Set-up 37.04'],
    ])
    expect(invoice).toMatchObject({ subtotal: '67.04', tax: '16.09', total: '83.13' })
    expect(invoice.plan_hash).toBe((await shop.ok('GET', '/plans/pro-month')).hash)
    expect(await shop.ok('GET', `/invoices/${invoice.id}/verification`)).toMatchObject({
      equal: true,
      difference: null,
    })
    for (const { index, amount } of invoice.lines) {
      const explained = await shop.ok('GET', `/invoices/${invoice.id}/lines/${index}/explain`)
      expect(explained).toMatchObject({ tree: { output: amount } })
    }
    expect(await shop.ok('GET', '/invoice-items/setup')).toMatchObject({ state: 'invoiced', invoice_id: invoice.id })
  })

  test('is one unit under the name of the product unless told, and the same again though it is called otherwise by now', async () => {
    const shop = await open()
    const made = await shop.ok('POST', '/invoice-items', item())
    expect(made).toMatchObject({ description: 'Pro', quantity: '1', unit_amount: '12.345', amount: '12.35' })
    await shop.ok('PATCH', '/products/pro', { name: 'Pro plus' })
    expect(await shop.call('POST', '/invoice-items', item())).toEqual({ status: 200, body: made })
    expect((await shop.call('POST', '/invoice-items', item({ quantity: '2' }))).status).toBe(409)
    const own = { external_key: 'setup', customer: 'ann', description: 'Pro', quantity: '1', unit_amount: '12.345' }
    expect((await shop.call('POST', '/invoice-items', own)).status).toBe(409)
    expect(await shop.ok('POST', '/invoice-items', item({ external_key: 'next' }))).toMatchObject({
      ...{ description: 'Pro plus' },
    })
  })

  test('asked for twice at once is sold once, though its price changes between the two', async () => {
    const shop = await open()
    const nothing = { subscription: null, description: null, currency: null, amount: null, unitAmount: null }
    const wanted = { ...nothing, externalKey: 'setup', customer: 'ann', product: 'pro', quantity: '2' }
    const ask = (quantity: string) => shop.call('POST', '/invoice-items', item({ quantity }))
    let asked: ReturnType<typeof ask> | undefined
    const first = await shop.transact(shop.tenantId, async (tx) => {
      const { item: made } = await createItem(tx, wanted, shop)
      await shop.ok('PATCH', '/products/pro', { name: 'Pro plus', prices: { USD: '99' } })
      asked = ask('2')
      await untilSomebodyWaits(database)
      return made
    })
    const same = await asked
    expect(same).toMatchObject({
      ...{ status: 200, body: { id: first.id, description: 'Pro', unit_amount: '12.345', amount: '24.69' } },
    })
    expect((await ask('3')).status).toBe(409)
    expect((await shop.ok('GET', '/invoice-items')).items).toEqual([same!.body])
  })

  test.each<[string, object, string]>([
    ['a product that is not there', { product: 'none' }, 'product'],
    ['an amount beside it', { amount: '5.00' }, 'product'],
    ['a price beside it', { quantity: '1', unit_amount: '5' }, 'product'],
    ['a customer in whose currency it has no price', { customer: 'bob' }, 'product'],
    ['neither product nor description', { product: undefined, amount: '5.00' }, 'description'],
  ])('is refused for %s', async (_, change, path) => {
    const shop = await open()
    await shop.ok('POST', '/customers', { external_key: 'bob', currency: 'EUR', subjects: ['bob'] })
    const { status, body } = await shop.call('POST', '/invoice-items', item(change))
    expect([status, errorsOf(body)]).toEqual([400, [path]])
    expect(await shop.ok('GET', '/invoice-items')).toEqual({ items: [], next: null })
  })

  test('is refused once the product is archived', async () => {
    const shop = await open()
    await shop.ok('PATCH', '/products/pro', { archived: true })
    expect((await shop.call('POST', '/invoice-items', item())).status).toBe(400)
    await shop.ok('PATCH', '/products/pro', { archived: false })
    expect((await shop.call('POST', '/invoice-items', item())).status).toBe(201)
  })
})
