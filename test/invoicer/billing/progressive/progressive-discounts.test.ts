import { afterAll, beforeAll, expect, test } from 'vitest'
import { putThreshold } from '../../../../invoicer/billing/progressive/change-threshold.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createMeter, DECEMBER, NOVEMBER } from '../../support/world.ts'
import { invoicesOf, openCouponShop, post, shown } from '../discounts/shop-with-coupons.ts'
import { inGreece, type Shop, sell } from '../tax/shop.ts'

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
let database: TestDatabase
let shops = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** `a` pays 0.01 a token and 24 % tax, has used so much by 1 November, and has a threshold of 10.00. */
async function shop(tokens: string): Promise<Shop> {
  shops += 1
  const open = await openCouponShop(database, `progressive-discounts-${shops}`)
  open.clock.nowMs = NOVEMBER
  await sell(open, 'a', tokens, inGreece)
  await open.transact(open.tenantId, (tx) => putThreshold(tx, { subscription: 'a', threshold: '10.00' }, open))
  return open
}
async function runAt(open: Shop, atMs: number): Promise<void> {
  open.clock.nowMs = atMs
  await open.run()
}
async function give(open: Shop, coupon: object, start: number): Promise<void> {
  await post(open, '/coupons', { key: 'off', name: 'Off', ...coupon })
  const given = { external_key: 'off', coupon: 'off', start: new Date(start).toISOString() }
  await post(open, '/subscriptions/a/discounts', given)
}
const totals = async (open: Shop) =>
  (await invoicesOf(open)).map((one) => [...shown(one), `${one.subtotal} + ${one.tax} = ${one.total}`])
const cyclesOf = async (open: Shop) =>
  (await invoicesOf(open)).map(({ discounts }) => discounts.map(({ cycle, amount }) => `${cycle} ${amount}`))

/** billing-rules "Invoices": what a period has off it has off once, however many invoices it has. */
test('an amount off is taken once of a period, on the first of its invoices, and is one cycle', async () => {
  const open = await shop('2000')
  await give(open, { amount: '5.00', currency: 'USD', cycles: 1 }, NOVEMBER)
  await runAt(open, NOVEMBER + DAY_MS)
  open.use('a', 'context_tokens', '1500', NOVEMBER + 2 * DAY_MS)
  await runAt(open, NOVEMBER + 3 * DAY_MS)
  open.use('a', 'context_tokens', '100', NOVEMBER + 4 * DAY_MS)
  await runAt(open, DECEMBER + 2 * HOUR_MS)
  expect(await totals(open)).toEqual([
    ['use 20.00 4.80', 'use -5.00 -1.20 0', '15.00 + 3.60 = 18.60'],
    ['use 35.00 8.40', 'use -15.00 -3.60', 'use -5.00 -1.20 0', '15.00 + 3.60 = 18.60'],
    ['use 36.00 8.64', 'use -30.00 -7.20', 'use -5.00 -1.20 0', '1.00 + 0.24 = 1.24'],
  ])
  expect(await cyclesOf(open)).toEqual([['1 5.00'], ['1 5.00'], ['1 5.00']])
})

test('a percentage that begins inside of a period is off all of it in the end, and late usage has it too', async () => {
  const open = await shop('2000')
  await runAt(open, NOVEMBER + DAY_MS)
  await give(open, { percent: '50', cycles: null }, NOVEMBER + 2 * DAY_MS)
  open.use('a', 'context_tokens', '3000', NOVEMBER + 3 * DAY_MS)
  await runAt(open, DECEMBER + 2 * HOUR_MS)
  // Half of 50.00, of which 20.00 are billed.
  expect((await totals(open)).slice(1)).toEqual([
    ['use 50.00 12.00', 'use -20.00 -4.80', 'use -25.00 -6.00 0', '5.00 + 1.20 = 6.20'],
  ])
  open.use('a', 'context_tokens', '200', NOVEMBER + 4 * DAY_MS, DECEMBER + DAY_MS)
  await runAt(open, DECEMBER + 2 * DAY_MS)
  // The subscription has ended: an invoice of its own, of half of 2.00.
  expect((await totals(open)).slice(2)).toEqual([['use 1.00 0.24', '1.00 + 0.24 = 1.24']])
})

test('a level is billed by the invoice of its period alone: what it comes to is known then', async () => {
  const open = await shop('2000')
  await createMeter(database, open.tenantId, 'level')
  await open.transact(open.tenantId, (tx) =>
    tx.query("UPDATE meters SET aggregation = 'time_weighted_sum' WHERE slug = 'level'"),
  )
  const price = { model: 'per_unit', unit_amount: '1' } as const
  await open.plan({ key: 'levels', charges: [{ key: 'level', name: 'Level', meter: 'level', price }] })
  await open.subscribe('b', { plan: 'levels' })
  await open.transact(open.tenantId, (tx) => putThreshold(tx, { subscription: 'b', threshold: '1.00' }, open))
  open.use('b', 'level', '500', NOVEMBER)
  await runAt(open, NOVEMBER + DAY_MS)
  expect((await invoicesOf(open)).map(({ customer }) => customer.external_key)).toEqual(['a'])
})
