import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { putThreshold } from '../../../../invoicer/billing/progressive/change-threshold.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS } from '../../agreements/subscriptions/changing-world.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'
import { HOUR_MS, inGreece, openShop, parkedOf, type Shop } from '../tax/shop.ts'
import { invoicesOf, place, shown } from './group.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** acme and its child north in Greece, which pays itself so far; it is 1 November. */
async function open(slug: string, plan: object = {}): Promise<Shop> {
  const shop = await openShop(database, slug)
  shop.clock.nowMs = NOVEMBER
  const charges = [{ key: 'base', name: 'Base', price: { model: 'flat', amount: '100.00' } }]
  const ahead = {
    ...{ key: 'ahead', name: 'Ahead', currency: 'USD', interval: 'month', alignment: 'calendar' },
    charges,
  }
  expect((await shop.call('POST', '/plans', { ...ahead, fees: 'in_advance' })).status).toBe(201)
  await shop.subscribe('acme', { endMs: null })
  await shop.subscribe('north', { endMs: null, ...plan })
  await place(shop, 'acme', inGreece)
  await place(shop, 'north', { ...inGreece, parent: 'acme' })
  return shop
}

async function runAt(shop: Shop, atMs: number): Promise<void> {
  shop.clock.nowMs = atMs
  await shop.run()
}

const ofNorth = async (shop: Shop) => shown(await invoicesOf(shop, '?subscription=north'))

async function balanceOf(shop: Shop, name: string): Promise<unknown> {
  return (await shop.call('GET', `/customers/${name}/balance`)).body.balances
}

describe('HC-13: behind a change of payer', () => {
  test('a fee in advance is not given back to who did not pay it: it waits until who did pays again', async () => {
    const shop = await open('fee-of-former', { plan: 'ahead' })
    await shop.run()
    expect(await ofNorth(shop)).toEqual(['north: 100.00 + 24.00 = 124.00'])
    await place(shop, 'north', { pays: 'parent' })
    shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
    expect((await shop.call('PATCH', '/subscriptions/north', { cancel: 'now', fees: 'credit' })).status).toBe(200)
    await runAt(shop, NOVEMBER + 15 * DAY_MS + 2 * HOUR_MS)
    expect(await parkedOf(shop)).toEqual([
      expect.stringContaining('let "north" pay until a run has billed this period'),
    ])
    expect([await balanceOf(shop, 'acme'), await balanceOf(shop, 'north')]).toEqual([[], []])
    await place(shop, 'north', { pays: 'self' })
    await shop.run()
    expect(await ofNorth(shop)).toEqual(['north: -50.00 + -12.00 = -62.00', 'north: 100.00 + 24.00 = 124.00'])
    expect(await balanceOf(shop, 'acme')).toEqual([])
    expect(await balanceOf(shop, 'north')).toEqual([{ currency: 'USD', balance: '62.00' }])
  })

  test('fees in advance that nothing corrects go on: the next ones are issued to who pays now', async () => {
    const shop = await open('fee-goes-on', { plan: 'ahead' })
    await shop.run()
    await place(shop, 'north', { pays: 'parent' })
    await runAt(shop, DECEMBER + 2 * HOUR_MS)
    expect(await parkedOf(shop)).toEqual([])
    expect(await ofNorth(shop)).toEqual(['acme for north: 100.00 + 24.00 = 124.00', 'north: 100.00 + 24.00 = 124.00'])
  })

  test('the period of progressive invoices is billed to who paid those', async () => {
    const shop = await open('progress-of-former')
    await shop.transact(shop.tenantId, (tx) => putThreshold(tx, { subscription: 'north', threshold: '50.00' }, shop))
    shop.use('north', 'context_tokens', '6000', NOVEMBER)
    await runAt(shop, NOVEMBER + 5 * DAY_MS)
    expect(await ofNorth(shop)).toEqual(['north: 60.00 + 14.40 = 74.40'])
    await place(shop, 'north', { pays: 'parent' })
    await runAt(shop, DECEMBER + 2 * HOUR_MS)
    expect(await parkedOf(shop)).toEqual([expect.stringContaining('Progressive usage of this period was billed to')])
    await place(shop, 'north', { pays: 'self' })
    await shop.run()
    expect(await ofNorth(shop)).toEqual(['north: 0.00 + 0.00 = 0.00', 'north: 60.00 + 14.40 = 74.40'])
  })
})
