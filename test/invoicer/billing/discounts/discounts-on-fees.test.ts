import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { change } from '../../collection/voids/void-world.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'
import { HOUR_MS, inGreece, openShop } from '../tax/shop.ts'
import { invoicesOf, post, shown, verified } from './shop-with-coupons.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const FEE = [{ key: 'fee', name: 'Fee', meter: null, price: { model: 'flat' as const, amount: '100.00' } }]

/** Issue 7, limited cycles: of the invoice of a fee that is void nothing is billed again, so that its cycle is free. */
test('a discount of one invoice is on the one that bills the fee of a void one', async () => {
  const shop = await openShop(database, 'void-discounted-fee')
  shop.deps.collect = async () => true
  await shop.plan({ key: 'ahead', fees: 'in_advance', charges: FEE })
  shop.clock.nowMs = NOVEMBER
  await shop.subscribe('ann', { plan: 'ahead', startMs: NOVEMBER, endMs: null })
  await shop.call('PATCH', '/customers/ann', inGreece)
  await post(shop, '/coupons', { key: 'half', name: 'Half', percent: '50', cycles: 1 })
  await post(shop, '/subscriptions/ann/discounts', { external_key: 'half', coupon: 'half' })
  await shop.run()
  const [first] = await shop.invoices()
  shop.clock.nowMs += HOUR_MS
  await change(shop, first!.id, 'void')
  shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await shop.run()
  const invoices = await invoicesOf(shop)
  expect(invoices.map(({ total, discounts }) => [total, discounts.map(({ cycle }) => cycle)])).toEqual([
    ['62.00', [1]],
    ['124.00', [1]],
  ])
  for (const invoice of invoices) expect(await verified(shop, invoice)).toMatchObject({ equal: true, difference: null })
})

/** Both fall due as the period ends, and the fee comes first. */
test('a discount of one invoice is on that of a fee which is due in the last minute of its period, and on no other', async () => {
  const shop = await openShop(database, 'last-minute-fee')
  await shop.plan({ key: 'ahead', fees: 'in_advance', charges: FEE })
  const startMs = DECEMBER - 60_000
  shop.clock.nowMs = startMs
  await shop.subscribe('ann', { plan: 'ahead', startMs, endMs: null })
  await shop.call('PATCH', '/customers/ann', inGreece)
  await post(shop, '/coupons', { key: 'half', name: 'Half', percent: '50', cycles: 1 })
  await post(shop, '/subscriptions/ann/discounts', { external_key: 'half', coupon: 'half' })
  shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await shop.run()
  const invoices = await invoicesOf(shop)
  const cycles = invoices.flatMap(({ discounts }) => discounts.map(({ cycle }) => cycle))
  expect([invoices.length, cycles]).toEqual([2, [1]])
  for (const invoice of invoices) expect(await verified(shop, invoice)).toMatchObject({ equal: true, difference: null })
})

/** billing-rules "Proration": fees in advance; each invoice of a subscription is a cycle, that of its start too. */
test('fees in advance are discounted on the invoice that bills them, and given back as they were paid', async () => {
  const shop = await openShop(database, 'discounted-fees')
  await shop.plan({ key: 'ahead', fees: 'in_advance', charges: FEE })
  shop.clock.nowMs = NOVEMBER
  await shop.subscribe('ann', { plan: 'ahead', startMs: NOVEMBER, endMs: null })
  await shop.call('PATCH', '/customers/ann', inGreece)
  await post(shop, '/coupons', { key: 'half', name: 'Half', percent: '50', cycles: 2 })
  await post(shop, '/subscriptions/ann/discounts', { external_key: 'half', coupon: 'half' })
  await shop.run()
  shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await shop.run()
  // Half of December, of which 50.00 were paid.
  shop.clock.nowMs = DECEMBER + (31 * 24 * HOUR_MS) / 2
  const cancelled = await shop.call('PATCH', '/subscriptions/ann', { cancel: 'now' })
  expect(cancelled.status).toBe(200)
  shop.clock.nowMs += 2 * HOUR_MS
  await shop.run()
  const invoices = await invoicesOf(shop)
  expect(invoices.map(shown)).toEqual([
    ['fee 100.00 24.00', 'fee -50.00 -12.00 0'],
    ['fee 100.00 24.00', 'fee -50.00 -12.00 0'],
    ['fee -25.00 -6.00'],
  ])
  expect(invoices.map(({ discounts }) => discounts.map(({ cycle }) => cycle))).toEqual([[1], [2], []])
  for (const invoice of invoices) expect(await verified(shop, invoice)).toMatchObject({ equal: true, difference: null })
  // Settled once more it would be: of the fee 50.00 were given back, and of its discount 25.00.
  const { rows } = await shop.transact(shop.tenantId, (tx) =>
    tx.query<{ sum: string }>('SELECT sum(amount_minor) FROM billed_fees WHERE period_start = $1', [
      new Date(DECEMBER),
    ]),
  )
  expect(rows).toEqual([{ sum: '5000' }])
})
