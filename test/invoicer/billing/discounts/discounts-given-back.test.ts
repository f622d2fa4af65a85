import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { buildDoors } from '../../support/doors.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { HOUR_MS, inGreece, type Shop } from '../tax/shop.ts'
import { type Invoice, invoicesOf, openCouponShop, post, shown } from './shop-with-coupons.ts'

const DAY_MS = 24 * HOUR_MS
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

function open(entity?: object): Promise<Shop> {
  worlds += 1
  return openCouponShop(database, `given-back-${worlds}`, entity)
}
type Note = { total: string; lines: { line: number; subtotal: string; tax: string }[] }
/** Credit notes on an invoice, each under a key of its own. */
function crediting(shop: Shop, { id }: Invoice) {
  const doors = buildDoors(database, { usage: shop.deps.usage, now: shop.now, newId: shop.newId })
  return async (body: object): Promise<{ status: number; body: Note }> => {
    const answer = await doors.app.inject({
      method: 'POST',
      url: `/api/v1/invoices/${id}/credit-notes`,
      headers: { 'x-tenant': String(shop.tenantId), 'idempotency-key': shop.newId() },
      payload: { reason: 'Sorry', ...body },
    })
    return { status: answer.statusCode, body: answer.json() }
  }
}
async function notesOf(shop: Shop, { id }: Invoice): Promise<Note[]> {
  return (await shop.call('GET', `/invoices/${id}/credit-notes`)).body.credit_notes as Note[]
}
const noted = ({ lines }: Note) => lines.map(({ line, subtotal, tax }) => `${line}: ${subtotal} + ${tax}`)

/** A fifth off all lines, and 10.00 off all of them. */
async function giveBoth(shop: Shop, to: string, cycles: number | null = null): Promise<void> {
  const start = '2023-11-01T00:00:00Z'
  await post(shop, '/coupons', { key: 'fifth', name: 'A fifth', percent: '20', cycles })
  await post(shop, '/coupons', { key: 'ten', name: 'Ten off', amount: '10.00', currency: 'USD', cycles })
  await post(shop, `/customers/${to}/discounts`, { external_key: 'fifth', coupon: 'fifth', start })
  await post(shop, `/customers/${to}/discounts`, { external_key: 'ten', coupon: 'ten', start })
}

describe('a credit note of discounted lines', () => {
  test('gives back at most what a line came to behind its discounts, tax too, and all of it exactly', async () => {
    const shop = await open()
    await shop.subscribe('ann', { plan: 'fees', startMs: NOVEMBER, endMs: DECEMBER })
    await shop.call('PATCH', '/customers/ann', inGreece)
    await giveBoth(shop, 'ann')
    await shop.run()
    const [invoice] = (await invoicesOf(shop)) as [Invoice]
    // Line 0 came to 100.00 - 20.00 - 6.67 = 73.33 and 24.00 - 4.80 - 1.60 = 17.60 of tax.
    expect(shown(invoice)).toContain('a -6.67 -1.60 0')
    const credit = crediting(shop, invoice)
    const lines = (line: number, amount?: string) => ({ lines: [{ line, ...(amount ? { amount } : {}) }] })
    expect(await credit(lines(0, '90.94'))).toMatchObject({ status: 400 })
    expect(await credit(lines(3))).toMatchObject({ status: 400 })
    const half = await credit(lines(0, '45.00'))
    expect(noted(half.body)).toEqual(['0: 36.29 + 8.71'])
    const rest = await credit(lines(0))
    expect(rest.body.total).toBe('45.93')
    expect(noted(rest.body)).toEqual(['0: 63.71 + 15.29', '3: -20.00 + -4.80', '5: -6.67 + -1.60'])
    expect(await credit(lines(0, '0.01'))).toMatchObject({ status: 400 })
    const part = await credit({ amount: '40.00' })
    expect(noted(part.body)).toEqual(['1: 32.25 + 7.74', '2: 0.01 + 0.00'])
    const last = await credit({})
    expect(last.body.total).toBe('5.48')
    const sum = [half, rest, part, last].reduce((all, { body }) => all + Math.round(Number(body.total) * 100), 0)
    expect(sum).toBe(13_641)
  })
})

describe('late usage of a discounted period (billing-rules)', () => {
  test('has percentages of that period taken off the difference, amounts not again, and is given back as paid', async () => {
    const shop = await open()
    await shop.subscribe('ann', { endMs: null })
    await shop.call('PATCH', '/customers/ann', inGreece)
    shop.clock.nowMs = NOVEMBER + DAY_MS
    await giveBoth(shop, 'ann', 1)
    shop.use('ann', 'context_tokens', '10000', NOVEMBER)
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    const [first] = (await invoicesOf(shop)) as [Invoice]
    expect(shown(first)).toEqual(['use 100.00 24.00', 'use -20.00 -4.80 0', 'use -10.00 -2.40 0'])

    // 50.00 more of November: 40.00 behind its fifth, on an invoice whose own month has no discount any more.
    shop.use('ann', 'context_tokens', '5000', NOVEMBER, DECEMBER + DAY_MS)
    shop.use('ann', 'context_tokens', '1000', DECEMBER + DAY_MS)
    shop.clock.nowMs = JANUARY + 2 * HOUR_MS
    await shop.run()
    const [, second] = (await invoicesOf(shop)) as [Invoice, Invoice]
    expect(shown(second)).toEqual(['use 10.00 2.40', 'use 40.00 9.60'])
    const explained = (await shop.call('GET', `/invoices/${second.id}/lines/1/explain`)).body
    expect(explained).toMatchObject({
      ...{ equal: true, amount: '40.00' },
      tree: {
        parts: expect.arrayContaining([
          expect.objectContaining({ label: 'Less discounts of that period', rule: '150.00 - 40', output: '110.00' }),
          expect.objectContaining({ label: 'Less what was billed', rule: '110.00 - 70.00', output: '40.00' }),
        ]),
      },
    })

    // All of it is taken back: what was paid of it, 70.00 and 40.00, and no more.
    shop.use('ann', 'context_tokens', '-15000', NOVEMBER, JANUARY + DAY_MS)
    shop.clock.nowMs = JANUARY + 2 * DAY_MS
    await shop.run()
    expect((await notesOf(shop, first)).map(noted)).toEqual([
      ['0: 100.00 + 24.00', '1: -20.00 + -4.80', '2: -10.00 + -2.40'],
    ])
    expect((await notesOf(shop, second)).map(noted)).toEqual([['1: 40.00 + 9.60']])
    const { balances } = (await shop.call('GET', '/customers/ann/balance')).body as { balances: { balance: string }[] }
    expect(balances.map(({ balance }) => balance)).toEqual(['136.40'])
    await shop.run()
    expect(await notesOf(shop, first)).toHaveLength(1)
  })

  test('of a period without any usage has the percentage that it would have had', async () => {
    const shop = await open()
    await shop.subscribe('ann', { endMs: null })
    await shop.call('PATCH', '/customers/ann', inGreece)
    shop.clock.nowMs = NOVEMBER + DAY_MS
    await giveBoth(shop, 'ann', 1)
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    shop.use('ann', 'context_tokens', '5000', NOVEMBER, DECEMBER + DAY_MS)
    shop.clock.nowMs = JANUARY + 2 * HOUR_MS
    await shop.run()
    const [empty, late] = (await invoicesOf(shop)) as [Invoice, Invoice]
    expect(empty.discounts).toMatchObject([
      { coupon: 'fifth', cycle: 1, amount: '0.00' },
      { coupon: 'ten', cycle: 1, amount: '0.00' },
    ])
    expect(shown(late)).toEqual(['use 0.00 0.00', 'use 40.00 9.60'])
  })
})
