import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { putBudget } from '../../../../invoicer/billing/budgets/change-budget.ts'
import { watchBudgets } from '../../../../invoicer/billing/budgets/look-at-spend.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import { HOUR_MS, inGreece, type Shop } from '../tax/shop.ts'
import { type Invoice, invoicesOf, type Line, openCouponShop, post, shown, verified } from './shop-with-coupons.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** A tenant of its own. */
function open(entity?: object): Promise<Shop> {
  worlds += 1
  return openCouponShop(database, `discounts-${worlds}`, entity)
}

/** A change that the product's own role may not make. */
async function asOwner(sql: string, params: unknown[]): Promise<void> {
  const client = new pg.Client({ connectionString: database.ownerUrl })
  await client.connect()
  try {
    await client.query(sql, params)
  } finally {
    await client.end()
  }
}

describe('discounts on invoices (issue 7)', () => {
  test('20 % and 10.00 off three lines with tax: previewed, invoiced, verified and explained', async () => {
    const shop = await open()
    await shop.subscribe('ann', { plan: 'fees', startMs: NOVEMBER, endMs: DECEMBER })
    await shop.call('PATCH', '/customers/ann', inGreece)
    await post(shop, '/coupons', { key: 'ten', name: 'Ten off', amount: '10.00', currency: 'USD', cycles: null })
    await post(shop, '/coupons', { key: 'fifth', name: 'A fifth', percent: '20', cycles: null })
    const start = '2023-11-10T00:00:00Z'
    await post(shop, '/customers/ann/discounts', { external_key: 'ten-ann', coupon: 'ten', start })
    await post(shop, '/subscriptions/ann/discounts', { external_key: 'fifth-ann', coupon: 'fifth', start })
    const preview = (await shop.call('GET', '/subscriptions/ann/preview?at=2023-11-20T00:00:00Z')).body
    await shop.run()
    const [invoice] = (await invoicesOf(shop)) as [Invoice]
    expect(shown(invoice)).toEqual([
      'a 100.00 24.00',
      'b 50.00 12.00',
      'c 0.01 0.00',
      // 20 % of 150.01 are 30.00; 10.00 are split as 80.00, 40.00 and 0.01 are.
      'a -20.00 -4.80 0',
      'b -10.00 -2.40 1',
      'a -6.67 -1.60 0',
      'b -3.33 -0.80 1',
    ])
    expect(invoice).toMatchObject({ subtotal: '110.01', tax: '26.40', total: '136.41' })
    expect(invoice.discounts).toMatchObject([
      { coupon: 'ten', cycle: null, amount: '10.00' },
      { coupon: 'fifth', cycle: null, amount: '30.00' },
    ])
    const amounts = (lines: Line[]) => lines.map(({ charge, amount, tax, discount }) => [charge, amount, tax, discount])
    expect(amounts(preview.lines as Line[])).toEqual(amounts(invoice.lines))
    expect(preview).toMatchObject({ subtotal: '110.01', tax: '26.40', total: '136.41' })
    expect(await verified(shop, invoice)).toMatchObject({ equal: true, difference: null, checked: { lines: 7 } })
    const explain = async (line: number) =>
      (await shop.call('GET', `/invoices/${invoice.number}/lines/${line}/explain`)).body
    expect(await explain(0)).toMatchObject({
      discounts: [
        { label: 'Coupon fifth, on line 3', input: '100.00', rule: '100.00 - 20.00', output: '80.00' },
        { label: 'Coupon ten, on line 5', input: '80.00', rule: '80.00 - 6.67', output: '73.33' },
      ],
    })
    expect(await explain(5)).toMatchObject({
      ...{ equal: true, amount: '-6.67', tax: { output: '-1.60' } },
      tree: {
        output: '-6.67',
        parts: [
          { label: 'Coupon ten', input: '120.01', rule: 'at most 10.00', output: '10.00' },
          {
            label: 'Its part',
            input: '10.00',
            rule: '10.00 × 80.00 ÷ 120.01, by the largest remainder',
            output: '6.67',
          },
          { label: 'Taken off', input: '6.67', rule: '0 - 6.67', output: '-6.67' },
        ],
      },
    })
    // What is given later leaves what is issued, and verification knows what was known then.
    shop.clock.nowMs += 60_000
    await post(shop, '/subscriptions/ann/discounts', { external_key: 'late', coupon: 'fifth', start })
    await post(shop, '/discounts/ten-ann/end', { at: start }, 200)
    expect(await verified(shop, invoice)).toMatchObject({ equal: true })
    await asOwner(
      `UPDATE invoice_lines SET amount_minor = amount_minor + CASE line_index WHEN 5 THEN 1 ELSE -1 END
       WHERE tenant_id = $1 AND line_index IN (5, 6)`,
      [shop.tenantId],
    )
    expect(await verified(shop, invoice)).toMatchObject({
      difference: {
        ...{ where: 'discount', line: 5, what: 'discount' },
        ...{ expected: '-6.67 by coupon "ten" off line 0', found: '-6.66 by coupon "ten" off line 0' },
      },
    })
  })

  test('three months, then none: each invoiced period is a cycle, though two runners bill at once', async () => {
    const shop = await open()
    shop.clock.nowMs = Date.UTC(2024, 3, 2)
    for (const name of ['a', 'b']) {
      await shop.subscribe(name, { plan: 'fees', startMs: NOVEMBER, endMs: null })
      await shop.call('PATCH', `/customers/${name}`, inGreece)
    }
    await post(shop, '/coupons', { key: 'start', name: 'Start', percent: '50', cycles: 3, charges: ['b'] })
    await post(shop, '/subscriptions/a/discounts', {
      external_key: 'a',
      coupon: 'start',
      start: '2023-12-05T00:00:00Z',
    })
    await post(shop, '/customers/b/discounts', { external_key: 'b', coupon: 'start', start: '2023-11-05T00:00:00Z' })
    await post(shop, '/coupons', { key: 'always', name: 'Always', percent: '10', cycles: null, charges: ['a'] })
    await post(shop, '/customers/b/discounts', { external_key: 'c', coupon: 'always', start: '2023-11-05T00:00:00Z' })
    // One month by a run of its own, the other four by two runs at once.
    await shop.run(DECEMBER + 2 * HOUR_MS)
    await Promise.all([shop.run(), shop.run()])
    const invoices = await invoicesOf(shop)
    const months = (name: string, key: string) =>
      invoices
        .filter(({ lines }) => lines.length > 0)
        .filter(
          (invoice) => (invoice as unknown as { customer: { external_key: string } }).customer.external_key === name,
        )
        .sort((x, y) => x.period_start.localeCompare(y.period_start))
        .map(({ period_start, discounts }) => [
          period_start.slice(0, 7),
          ...discounts.filter(({ coupon }) => coupon === key).map(({ cycle, amount }) => `${cycle}: ${amount}`),
        ])
    expect(months('b', 'always').map(([, off]) => off)).toEqual(Array(5).fill('null: 10.00'))
    for (const invoice of invoices)
      expect(await verified(shop, invoice)).toMatchObject({ equal: true, difference: null })
    expect(months('a', 'start')).toEqual([
      ['2023-11'],
      ['2023-12', '1: 25.00'],
      ['2024-01', '2: 25.00'],
      ['2024-02', '3: 25.00'],
      ['2024-03'],
    ])
    expect(months('b', 'start')).toEqual([
      ['2023-11', '1: 25.00'],
      ['2023-12', '2: 25.00'],
      ['2024-01', '3: 25.00'],
      ['2024-02'],
      ['2024-03'],
    ])
  })

  test('a preview counts the invoices that will come before its own, and a budget is compared with what is left', async () => {
    const shop = await open()
    shop.clock.nowMs = NOVEMBER + HOUR_MS
    await shop.subscribe('ann', { plan: 'fees', startMs: NOVEMBER, endMs: null })
    await shop.call('PATCH', '/customers/ann', inGreece)
    await post(shop, '/coupons', { key: 'free', name: 'Free', percent: '100', cycles: 2 })
    await post(shop, '/subscriptions/ann/discounts', { external_key: 'x', coupon: 'free' })
    const totals = async () => {
      const answers = ['2023-11', '2023-12', '2024-01'].map((month) =>
        shop.call('GET', `/subscriptions/ann/preview?at=${month}-15T00:00:00Z`),
      )
      return (await Promise.all(answers)).map(({ body }) => body.total ?? body.code)
    }
    expect(await totals()).toEqual(['0.00', '0.00', '186.01'])
    const spent = async () => {
      const budget = { subscription: 'ann', amount: '100.00', thresholds: ['100%'] }
      await shop.transact(shop.tenantId, (tx) => putBudget(tx, budget, shop))
      const told: unknown[] = []
      const hooks = {
        stopping: () => false,
        fired: (count: number) => told.push(count),
        failed: () => told.push('failed'),
      }
      await watchBudgets({ ...shop, usage: shop.deps.usage }).look(shop.tenantId, shop.clock.nowMs, hooks)
      return told
    }
    expect(await spent()).toEqual([])
    await shop.call('POST', '/discounts/x/end', { at: '2023-11-01T00:00:00Z' })
    shop.clock.nowMs += HOUR_MS
    expect(await totals()).toEqual(['186.01', '186.01', '186.01'])
    expect(await spent()).toEqual([1])
  })

  test('an invoice never gets below 0: what is left of an amount is lost, and the cycle is used', async () => {
    const shop = await open()
    await shop.subscribe('ann', { plan: 'fees', startMs: NOVEMBER, endMs: null })
    await shop.call('PATCH', '/customers/ann', inGreece)
    await post(shop, '/coupons', { key: 'much', name: 'Much', amount: '1000.00', currency: 'USD', cycles: 1 })
    await post(shop, '/subscriptions/ann/discounts', {
      external_key: 'x',
      coupon: 'much',
      start: '2023-11-01T00:00:00Z',
    })
    await shop.run(JANUARY + 2 * HOUR_MS)
    const invoices = await invoicesOf(shop)
    expect(invoices.map(({ total, discounts }) => [total, discounts.map(({ amount }) => amount)])).toEqual([
      ['0.00', ['150.01']],
      ['186.01', []],
    ])
  })
})
