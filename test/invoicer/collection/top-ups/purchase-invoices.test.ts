import fc from 'fast-check'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import {
  type CreateLegalEntity,
  createLegalEntity,
} from '../../../../invoicer/agreements/entities/create-legal-entity.ts'
import { lockCreditOf } from '../../../../invoicer/collection/credits/credits.postgres.ts'
import { grantCredit } from '../../../../invoicer/collection/credits/grant-credit.ts'
import { manualGateway } from '../../../../invoicer/collection/payments/gateway.manual.ts'
import type { Gateway } from '../../../../invoicer/collection/payments/gateway.ts'
import { readPurchases } from '../../../../invoicer/collection/top-ups/change-rule.ts'
import { chargePurchases } from '../../../../invoicer/collection/top-ups/charge-purchases.ts'
import { openPurchases } from '../../../../invoicer/collection/top-ups/open-purchases.ts'
import { insertPurchase } from '../../../../invoicer/collection/top-ups/purchases.postgres.ts'
import type { Transact } from '../../../../invoicer/transaction.ts'
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
  call: (method: 'GET' | 'POST' | 'PUT' | 'PATCH', url: string, body?: object, key?: string) => Promise<Answer>
  charge: (gateway?: Gateway, transact?: Transact) => Promise<number>
  buy: (key: string, amount: string, more?: object) => Promise<Answer>
  list: (url: string, name: string) => Promise<Body[]>
}

/** On 1 November: a customer `ann` at a cent a token. */
async function openShop(taxed = false): Promise<Shop> {
  worlds += 1
  const world = await createWorld(database, `purchase-invoices-${worlds}`)
  world.clock.nowMs = NOVEMBER + HOUR_MS + 30_000
  const doors = buildDoors(database, { usage: world.deps.usage, now: world.now, newId: world.newId })
  closing.push(() => doors.app.close())
  if (taxed) await world.transact(world.tenantId, (tx) => createLegalEntity(tx, SELLER, world))
  const price = { model: 'per_unit', unit_amount: '0.01' } as const
  await world.plan({ charges: [{ key: 'use', name: 'Use', meter: 'context_tokens', price }] })
  await world.subscribe('ann', { endMs: null })
  const call: Shop['call'] = async (method, url, payload, key) => {
    const headers = { 'x-tenant': String(world.tenantId), ...(key === undefined ? {} : { 'idempotency-key': key }) }
    const asked = { method, url: `/api/v1${url}`, headers, ...(payload ? { payload } : {}) }
    const response = await doors.app.inject(asked)
    return { status: response.statusCode, body: response.json() }
  }
  return {
    ...world,
    call,
    charge: (gateway = manualGateway, transact = world.transact) =>
      chargePurchases({ now: world.now, newId: world.newId, transact, gateway }, world.tenantId, vi.fn()),
    buy: (key, amount, more = {}) =>
      call('POST', '/customers/ann/credit-purchases', { external_key: key, amount, ...more }),
    list: async (url, name) => (await call('GET', url)).body[name] as Body[],
  }
}
const SELLER: CreateLegalEntity = {
  ...{ key: 'hellas', name: 'Hellas', country: 'GR', address: null, defaultCurrency: null, numberPrefix: 'HEL' },
  registrations: [{ country: 'GR', number: 'EL123456789' }],
  tax: { enabled: true, engine: 'embedded', rounding: 'per_line', inclusive: false, euConsumers: 'destination' },
}

const invoices = (shop: Shop) => shop.list('/invoices?customer=ann', 'invoices')
const uses = async (shop: Shop) =>
  (await shop.list('/customers/ann/credit-uses', 'uses')).map(({ kind, amount }) => `${kind} ${amount}`)

/** Issue 7: prepaid credit; billing-rules: its sale is a liability, neither taxed nor revenue. */
describe('a purchase of credit has an invoice', () => {
  test('with a number of the series, paid by the payment of the purchase, without tax, subscription and plan', async () => {
    const shop = await openShop(true)
    const bought = await shop.buy('first', '50.00')
    expect(bought).toMatchObject({ status: 201, body: { state: 'created', external_key: 'first', invoice_id: null } })
    expect(await shop.buy('first', '50.00')).toEqual({ ...bought, status: 200 })
    expect((await shop.buy('first', '51.00')).status).toBe(409)
    // One at a time.
    expect((await shop.buy('second', '50.00')).status).toBe(409)
    expect(await invoices(shop)).toEqual([])
    expect(await shop.charge()).toBe(1)
    const [invoice, ...none] = await invoices(shop)
    expect(none).toEqual([])
    expect(invoice).toMatchObject({
      ...{ number: 'HEL-000001', legal_entity: 'hellas', state: 'paid', subscription_id: null, plan: null },
      ...{ plan_version: null, plan_hash: null, billing_run_id: null, off_cycle: true, currency: 'USD' },
      ...{ period_start: '2023-11-01T01:00:00.000Z', period_end: '2023-11-01T01:01:00.000Z' },
      ...{ subtotal: '50.00', tax: '0.00', total: '50.00', credit: '0.00', balance: '0.00', amount_due: '50.00' },
      ...{ amount_remaining: '0.00', finalised_at: '2023-11-01T01:00:30.000Z', paid_at: '2023-11-01T01:00:30.000Z' },
      lines: [{ charge: 'prepaid_credit', description: 'Prepaid credit', amount: '50.00', tax: null, plan: null }],
    })
    const [purchase] = await shop.list('/customers/ann/credit-purchases', 'purchases')
    expect(purchase).toMatchObject({ state: 'paid', invoice_id: invoice?.id })
    const told = await shop.list(`/billing-events?invoice=${String(invoice?.id)}`, 'events')
    expect(told.map(({ event }) => event)).toEqual(['invoice.finalised', 'payment.succeeded', 'invoice.paid'])
    expect((await shop.call('GET', '/customers/ann/credits')).body).toMatchObject({ balance: '50.00' })
  })

  test('not for whom somebody else pays, whose credit nothing draws on: by hand, by a rule, or by a rule of before', async () => {
    const shop = await openShop()
    const rule = { threshold: '10.00', amount: '50.00', most_purchases: 3, per: 'month' }
    expect((await shop.call('PUT', '/customers/ann/credit-top-up', rule)).status).toBe(200)
    expect(await shop.charge()).toBe(1)
    await shop.call('POST', '/customers', { external_key: 'group', currency: 'USD', subjects: ['group'] })
    const [one] = await shop.list('/customers/ann/credit-purchases', 'purchases')
    expect(one).toMatchObject({ state: 'paid', amount: '50.00' })
    expect((await shop.call('PATCH', '/customers/ann', { parent: 'group', pays: 'parent' })).status).toBe(200)
    const refused = { status: 409, body: { detail: expect.stringContaining('buy it for customer "group"') } }
    expect(await shop.buy('first', '50.00')).toMatchObject(refused)
    expect(await shop.call('PUT', '/customers/ann/credit-top-up', rule)).toMatchObject(refused)
    // The rule of before sees too little, and buys nothing.
    const low = {
      customerId: String((await shop.call('GET', '/customers/ann')).body.id),
      availableMinor: 0n,
      grants: 1,
    }
    const open = () => shop.transact(shop.tenantId, (tx) => openPurchases(tx, shop, 'manual', [low], shop.now()))
    expect(await open()).toBe(0)
    expect((await shop.call('PATCH', '/customers/ann', { pays: 'self' })).status).toBe(200)
    expect(await open()).toBe(1)
  })

  test('is settled while somebody buys by hand, whichever comes first: none waits in a circle', async () => {
    const shop = await openShop()
    await shop.buy('first', '50.00')
    const customerId = String((await shop.call('GET', '/customers/ann')).body.id)
    let charging: Promise<number> | undefined
    const stored = await shop.transact(shop.tenantId, async (tx) => {
      // As whoever buys by hand: the lock of the credit first, then the purchase.
      await lockCreditOf(tx, customerId)
      charging = shop.charge()
      await expect
        .poll(async () => {
          const { rows } = await database.pool.query(`SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
          return rows.length
        })
        .toBe(1)
      const [first] = await readPurchases(tx, 'ann', { after: null, limit: 1 })
      return insertPurchase(tx, { ...first!, id: shop.newId(), externalKey: 'second' })
    })
    expect(stored).toBe(false)
    expect(await charging).toBe(1)
    expect(await invoices(shop)).toHaveLength(1)
  })

  test('is verified, and explained as what it is', async () => {
    const shop = await openShop()
    await shop.buy('first', '12.34')
    await shop.charge()
    const [invoice] = await invoices(shop)
    expect(invoice).toMatchObject({ number: 'INV-000001', legal_entity: null })
    const verified = await shop.call('GET', `/invoices/${String(invoice?.id)}/verification`)
    expect(verified).toMatchObject({ status: 200, body: { equal: true, checked: { lines: 1 } } })
    const explained = await shop.call('GET', '/invoices/INV-000001/lines/0/explain')
    expect(explained).toMatchObject({ status: 200, body: { equal: true, plan: null, tax: null, amount: '12.34' } })
    expect(JSON.stringify(explained.body.tree)).toContain('a liability, neither taxed nor revenue')
    // What is stored otherwise is found.
    const owner = new pg.Client({ connectionString: database.ownerUrl })
    await owner.connect()
    await owner.query('UPDATE invoice_lines SET amount_minor = 1235 WHERE invoice_id = $1', [invoice?.id])
    await owner.end()
    expect((await shop.call('GET', '/invoices/INV-000001/verification')).body).toMatchObject({
      equal: false,
      difference: { where: 'rating', line: 0, expected: '12.34', found: '12.35' },
    })
  })

  test('that credit never pays: not what was bought before, and what it bought pays the next invoice', async () => {
    const shop = await openShop()
    await shop.transact(shop.tenantId, (tx) =>
      grantCredit(
        tx,
        { externalKey: 'gift', customer: 'ann', name: null, amount: '9.00', priority: 0, expiresAtMs: null },
        shop,
      ),
    )
    await shop.buy('first', '50.00')
    await shop.charge()
    expect(await uses(shop)).toEqual([])
    shop.use('ann', 'context_tokens', '1000', NOVEMBER + HOUR_MS)
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    const [, usage] = await invoices(shop)
    expect(usage).toMatchObject({ number: 'INV-000002', total: '10.00', credit: '10.00', amount_due: '0.00' })
    expect(await uses(shop)).toEqual(['drawn 9.00', 'drawn 1.00'])
    // A run charges what it issued alone.
    expect(shop.charged).toEqual([])
  })

  test('when it is paid, and none when it is declined; what somebody asked for is no business of the rule', async () => {
    const shop = await openShop()
    const declining: Gateway = { name: 'manual', charge: async () => ({ outcome: 'declined', reason: 'no money' }) }
    await shop.call('PUT', '/customers/ann/credit-top-up', {
      ...{ threshold: '0.00', amount: '5.00', most_purchases: 1, per: 'month' },
    })
    await shop.buy('first', '50.00')
    await shop.charge(declining)
    expect(await invoices(shop)).toEqual([])
    expect((await shop.call('GET', '/customers/ann/credit-top-up')).body).toMatchObject({ declines: 0, retry_at: null })
    expect(await shop.list('/customers/ann/credit-purchases', 'purchases')).toMatchObject([
      { state: 'declined', reason: 'no money', invoice_id: null },
    ])
    await shop.buy('second', '50.00')
    await shop.charge()
    expect(await invoices(shop)).toMatchObject([{ number: 'INV-000001', state: 'paid' }])
    expect((await shop.buy('second', '50.00')).body).toMatchObject({ state: 'paid' })
  })

  test('all or nothing: a crash before the commit leaves no number, no credit and no invoice, and charges once', async () => {
    const shop = await openShop()
    await shop.buy('first', '50.00')
    const asked: string[] = []
    const gateway: Gateway = {
      name: 'manual',
      charge: async (request) => {
        asked.push(request.idempotencyKey)
        return manualGateway.charge(request)
      },
    }
    // Dies as the numbered invoice is written, which is the last statement.
    const dying: Transact = (tenantId, work) =>
      shop.transact(tenantId, (tx) =>
        work({
          ...tx,
          query: async (text: string, values: unknown[]) => {
            if (text.includes('INSERT INTO invoices')) throw new Error('killed')
            return tx.query(text, values)
          },
        } as typeof tx),
      )
    await expect(shop.charge(gateway, dying)).rejects.toThrow('killed')
    expect(await invoices(shop)).toEqual([])
    expect((await shop.call('GET', '/customers/ann/credits')).body).toMatchObject({ balance: '0.00' })
    shop.clock.nowMs += 61_000
    await Promise.all([shop.charge(gateway), shop.charge(gateway)])
    expect(await invoices(shop)).toMatchObject([{ number: 'INV-000001', total: '50.00' }])
    expect(new Set(asked).size).toBe(1)
    expect((await shop.call('GET', '/customers/ann/credits')).body).toMatchObject({ balance: '50.00' })
  })
})

const noteOn = async (shop: Shop, key: string, amount?: string, place = 0) => {
  const invoice = (await invoices(shop))[place]
  const body = { reason: 'asked for', ...(amount === undefined ? {} : { amount }) }
  return shop.call('POST', `/invoices/${String(invoice?.id)}/credit-notes`, body, key)
}

describe('giving a purchase back', () => {
  test('takes the credit back that is left, to the balance, once', async () => {
    const shop = await openShop()
    await shop.buy('first', '50.00')
    await shop.charge()
    const noted = await noteOn(shop, 'n1', '20.00')
    expect(noted).toMatchObject({ status: 201, body: { total: '20.00', to_balance: '20.00', tax: '0.00' } })
    expect(await noteOn(shop, 'n1', '20.00')).toMatchObject({ status: 200, body: noted.body })
    expect((await shop.call('GET', '/customers/ann/credits')).body).toMatchObject({ balance: '30.00' })
    expect(await uses(shop)).toEqual(['refunded 20.00'])
    expect(await noteOn(shop, 'n2')).toMatchObject({ status: 201, body: { total: '30.00' } })
    expect((await shop.call('GET', '/customers/ann/credits')).body).toMatchObject({ balance: '0.00' })
    expect((await shop.call('GET', '/customers/ann/balance')).body).toMatchObject({ balances: [{ balance: '50.00' }] })
    const [invoice] = await invoices(shop)
    expect(invoice).toMatchObject({ credited: '50.00', state: 'paid' })
    expect((await shop.call('GET', '/invoices/INV-000001/verification')).body).toMatchObject({ equal: true })
  })

  test('is refused where less is left, saying how much, and changes nothing; a paid one cannot be voided', async () => {
    const shop = await openShop()
    await shop.buy('first', '50.00')
    await shop.charge()
    shop.use('ann', 'context_tokens', '1500', NOVEMBER + 2 * HOUR_MS)
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    const refused = await noteOn(shop, 'n1')
    expect(refused.status).toBe(409)
    expect(JSON.stringify(refused.body)).toContain('give back 35.00 at most')
    expect((await shop.call('GET', '/customers/ann/balance')).body).toMatchObject({ balances: [] })
    expect((await noteOn(shop, 'n1', '35.00')).status).toBe(201)
    const [invoice] = await invoices(shop)
    const voided = await shop.call('POST', `/invoices/${String(invoice?.id)}/void`, { reason: 'wrong' }, 'v1')
    expect(voided.status).toBe(409)
    expect(JSON.stringify(voided.body)).toContain('give it back by a credit note')
    expect((await noteOn(shop, 'n3', '1.00')).status).toBe(409)
  })

  test('is refused once the credit has expired, though nobody took it off yet', async () => {
    const shop = await openShop()
    await shop.buy('first', '50.00', { expires_after_days: 1 })
    await shop.charge()
    shop.clock.nowMs = NOVEMBER + 3 * 24 * HOUR_MS
    expect((await noteOn(shop, 'n1', '1.00')).status).toBe(409)
    expect(await uses(shop)).toEqual([])
  })
})

/** billing-rules: sold = drawn + expired + refunded + remaining, always. */
test('what was sold was drawn, refunded or is left, whatever is bought, used and given back', async () => {
  const step = fc.oneof(
    fc.record({ buy: fc.integer({ min: 1, max: 5_000 }) }),
    fc.record({ use: fc.integer({ min: 1, max: 5_000 }) }),
    fc.record({ refund: fc.integer({ min: 1, max: 5_000 }) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
      const shop = await openShop()
      let sold = 0n
      let month = 0
      for (const [index, one] of steps.entries()) {
        shop.clock.nowMs += HOUR_MS
        if ('buy' in one) {
          await shop.buy(`b${index}`, (one.buy / 100).toFixed(2))
          await shop.charge()
          sold += BigInt(one.buy)
        } else if ('use' in one) {
          shop.use('ann', 'context_tokens', String(one.use), Date.UTC(2023, 10 + month, 1) + HOUR_MS)
          month += 1
          shop.clock.nowMs = Date.UTC(2023, 10 + month, 1) + 2 * HOUR_MS
          await shop.run(shop.clock.nowMs)
        } else {
          const bought = (await invoices(shop)).findLastIndex(({ subscription_id: id }) => id === null)
          if (bought < 0) continue
          const { status } = await noteOn(shop, `r${index}`, (one.refund / 100).toFixed(2), bought)
          expect([201, 400, 409]).toContain(status)
        }
      }
      const { rows } = await shop.transact(shop.tenantId, (tx) =>
        tx.query<{ sold: string; gone: string; remaining: string; noted: string; refunded: string }>(
          `SELECT (SELECT coalesce(sum(amount_minor), 0) FROM credit_grants) AS sold,
             (SELECT coalesce(sum(amount_minor), 0) FROM credit_uses) AS gone,
             (SELECT coalesce(sum(remaining_minor), 0) FROM credit_grants) AS remaining,
             (SELECT coalesce(sum(n.total_minor), 0) FROM credit_notes n
              JOIN invoices i ON i.id = n.invoice_id WHERE i.subscription_id IS NULL) AS noted,
             (SELECT coalesce(sum(amount_minor), 0) FROM credit_uses WHERE kind = 'refunded') AS refunded`,
        ),
      )
      const [sums] = rows
      expect(BigInt(sums!.sold)).toBe(sold)
      expect(BigInt(sums!.gone) + BigInt(sums!.remaining)).toBe(sold)
      expect(sums!.refunded).toBe(sums!.noted)
    }),
    { numRuns: 6 },
  )
})
