import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DAY_MS, HOUR_MS } from '../../agreements/subscriptions/changing-world.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'
import { HELLAS, inGreece, openShop, type Shop } from '../tax/shop.ts'

let database: TestDatabase
let shops = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const plan = (key: string, amount: string, change: object = {}) => ({
  ...{ key, name: key, currency: 'USD', interval: 'month', alignment: 'calendar', fees: 'in_advance' },
  charges: [{ key: 'base', name: 'Base', price: { model: 'flat', amount } }],
  ...change,
})

/** A Greek shop with a plan of 100.00 in advance and one of 300.00, and ann in Greece on the first; it is 1 November. */
async function open(): Promise<
  Shop & { ok: (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) => Promise<Body> }
> {
  shops += 1
  const shop = await openShop(database, `fees-rest-${shops}`)
  const ok = async (method: 'GET' | 'POST' | 'PATCH', url: string, body?: object) => {
    const answer = await shop.call(method, url, body)
    expect([answer.status < 300, answer.body]).toEqual([true, answer.body])
    return answer.body as Body
  }
  shop.clock.nowMs = NOVEMBER
  await ok('POST', '/plans', plan('small', '100.00'))
  await ok('POST', '/plans', plan('large', '300.00'))
  await shop.subscribe('ann', { plan: 'small', endMs: null })
  await ok('PATCH', '/customers/ann', inGreece)
  return { ...shop, ok }
}
type Body = Record<string, unknown>
type Line = { index: number; plan: string; amount: string; tax: { amount: string } | null }
type Invoice = { id: string; lines: Line[]; total: string; legal_entity: string | null }

/** Each invoice in the order it was made: its lines with their taxes, and its total; and that all of them are verified. */
async function invoicesOf(shop: Awaited<ReturnType<typeof open>>): Promise<string[]> {
  const { invoices } = await shop.ok('GET', '/invoices')
  const inOrder = [...(invoices as Invoice[])].sort((a, b) => (a.id < b.id ? -1 : 1))
  for (const { id, lines } of inOrder) {
    expect(await shop.ok('GET', `/invoices/${id}/verification`)).toMatchObject({ equal: true, difference: null })
    for (const { index, amount } of lines) {
      const explained = await shop.ok('GET', `/invoices/${id}/lines/${index}/explain`)
      expect(explained).toMatchObject({ tree: { output: amount } })
    }
  }
  return inOrder.map(({ lines, total }) => {
    const texts = lines.map((line) => `${line.plan} ${line.amount} (${line.tax?.amount})`)
    return `${texts.join(', ')} = ${total}`
  })
}

describe('fees in advance, through the doors', () => {
  test('a plan says when its fees are billed, and what is neither is refused', async () => {
    const shop = await open()
    expect(await shop.ok('GET', '/plans/small')).toMatchObject({ fees: 'in_advance', version: 1 })
    const behind = await shop.ok('POST', '/plans', plan('behind', '1.00', { fees: 'in_arrears' }))
    const ahead = await shop.ok('POST', '/plans', plan('ahead', '1.00'))
    expect(behind.hash).not.toBe(ahead.hash)
    expect((await shop.call('POST', '/plans', plan('x', '1.00', { fees: 'sometimes' }))).status).toBe(400)
    // Left out: in advance, and of a plan that is there as it has it.
    const left = (key: string, amount: string) => plan(key, amount, { fees: undefined })
    expect(await shop.ok('POST', '/plans', left('left', '1.00'))).toMatchObject({ fees: 'in_advance' })
    expect(await shop.ok('POST', '/plans', left('behind', '1.00'))).toEqual(behind)
    const { key: __, ...dearer } = left('behind', '2.00')
    expect(await shop.ok('POST', '/plans/behind/versions', dearer)).toMatchObject({ version: 2, fees: 'in_arrears' })
    // A version may bill otherwise; who is on the plan stays on theirs.
    const { key: _, ...content } = plan('small', '100.00', { fees: 'in_arrears' })
    expect(await shop.ok('POST', '/plans/small/versions', content)).toMatchObject({ version: 2, fees: 'in_arrears' })
    await shop.run()
    expect(await invoicesOf(shop)).toEqual(['small 100.00 (24.00) = 124.00'])
  })

  test('an upgrade is previewed with credit, charge and net, and billed so with tax', async () => {
    const shop = await open()
    await shop.run()
    shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
    const preview = await shop.ok('GET', '/subscriptions/ann/preview?plan=large')
    expect(preview.change).toMatchObject({ credit: '-50.00', charge: '150.00', net: '100.00' })
    expect(preview).toMatchObject({ subtotal: '400.00', tax: '96.00', total: '496.00' })
    await shop.ok('PATCH', '/subscriptions/ann', { plan: 'large' })
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    expect(await invoicesOf(shop)).toEqual([
      'small 100.00 (24.00) = 124.00',
      'small -50.00 (-12.00), large 150.00 (36.00), large 300.00 (72.00) = 496.00',
    ])
  })

  test('what is given back was taxed and discounted as it was billed, whatever holds by then', async () => {
    const shop = await open()
    await shop.ok('POST', '/coupons', { key: 'fifth', name: 'A fifth', percent: '20', cycles: 1 })
    await shop.ok('POST', '/subscriptions/ann/discounts', { external_key: 'd', coupon: 'fifth' })
    await shop.run()
    shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
    await shop.ok('PATCH', '/customers/ann', { tax_exemption: { reason: 'charity', certificate: 'C-1' } })
    await shop.ok('PATCH', '/subscriptions/ann', { cancel: 'now' })
    shop.clock.nowMs += 2 * HOUR_MS
    await shop.run()
    expect(await invoicesOf(shop)).toEqual([
      'small 100.00 (24.00), small -20.00 (-4.80) = 99.20',
      'small -40.00 (-9.60) = -49.60',
    ])
    expect(await shop.ok('GET', '/customers/ann/balance')).toMatchObject({ balances: [{ balance: '49.60' }] })
  })

  test('what another legal entity billed is given back by that one', async () => {
    const shop = await open()
    const other = { ...HELLAS, key: 'other', name: 'Other', number_prefix: 'OT' }
    await shop.ok('POST', '/legal-entities', other)
    await shop.run()
    shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
    await shop.ok('PATCH', '/customers/ann', { legal_entity: 'other' })
    await shop.ok('PATCH', '/subscriptions/ann', { plan: 'large' })
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await Promise.all([shop.run(), shop.run()])
    expect((await invoicesOf(shop)).sort()).toEqual([
      'large 150.00 (36.00), large 300.00 (72.00) = 558.00',
      'small -50.00 (-12.00) = -62.00',
      'small 100.00 (24.00) = 124.00',
    ])
    const { invoices } = await shop.ok('GET', '/invoices')
    const sellers = (invoices as Invoice[]).map(({ total, legal_entity: by }) => `${total} ${by}`).sort()
    expect(sellers).toEqual(['-62.00 hellas', '124.00 hellas', '558.00 other'])
  })

  test('cancelled now: fees are given back, kept, or refused to be refunded', async () => {
    const shop = await open()
    await shop.run()
    shop.clock.nowMs = NOVEMBER + 15 * DAY_MS
    const patch = (body: object) => shop.call('PATCH', '/subscriptions/ann', body)
    expect(await patch({ cancel: 'now', fees: 'refund' })).toMatchObject({
      status: 400,
      body: { errors: [{ path: 'fees', message: expect.stringContaining('take credit') }] },
    })
    for (const wrong of [
      { cancel: 'period_end', fees: 'none' },
      { cancel: null, fees: 'credit' },
      { plan: 'large', fees: 'none' },
    ]) {
      expect((await patch(wrong)).status).toBe(400)
    }
    expect(await shop.ok('GET', '/subscriptions/ann')).toMatchObject({ state: 'active' })
    await shop.ok('PATCH', '/subscriptions/ann', { cancel: 'now', fees: 'none' })
    shop.clock.nowMs += 2 * HOUR_MS
    await shop.run()
    expect(await invoicesOf(shop)).toEqual(['small 100.00 (24.00) = 124.00', ' = 0.00'])
  })
})
