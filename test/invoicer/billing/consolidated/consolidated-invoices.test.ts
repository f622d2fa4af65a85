import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { inGreece } from '../tax/shop.ts'
import { invoiceOf, invoicesOf, openGroup, place, shown } from './group.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const minorOf = (text: string) => BigInt(text.replace('.', ''))
const sumOf = (texts: readonly string[]) => texts.reduce((sum, text) => sum + minorOf(text), 0n)

describe('a parent gets one invoice for all that it pays of a run', () => {
  test('with one number, the lines of its children in order, their tax, and its prepaid credit off the total', async () => {
    const shop = await openGroup(database, 'one-invoice', { consolidate: true })
    await shop.subscribe('other')
    await place(shop, 'other', inGreece)
    const grant = { external_key: 'g', amount: '25.00' }
    expect((await shop.call('POST', '/customers/acme/credits', grant)).status).toBe(201)
    await shop.run()
    const invoice = await invoiceOf(shop, '?customer=acme')
    // 10.00 + 20.50 + 3.33 with 24 % each: 2.40 + 4.92 + 0.80.
    expect(invoice).toMatchObject({
      ...{ number: 'HELLAS-000002', state: 'paid', customer: { external_key: 'acme' }, subscription_id: null },
      ...{ on_behalf_of: null, subtotal: '33.83', tax: '8.12', total: '41.95', credit: '25.00', amount_due: '16.95' },
    })
    expect(invoice.lines.map(({ index, amount, tax }) => [index, amount, tax?.amount])).toEqual([
      [0, '10.00', '2.40'],
      [1, '20.50', '4.92'],
      [2, '3.33', '0.80'],
    ])
    const net = sumOf(invoice.lines.map(({ amount }) => amount))
    const tax = sumOf(invoice.lines.map((line) => line.tax?.amount ?? '0'))
    expect(net + tax).toBe(minorOf(invoice.total))
    expect(invoice.parts.map((part) => [part.customer.external_key, part.first_line, part.total])).toEqual([
      ['acme', 0, '12.40'],
      ['north', 1, '25.42'],
      ['south', 2, '4.13'],
    ])
    expect(shop.charged.map(({ invoiceId, amountMinor }) => [invoiceId, amountMinor])).toEqual([[invoice.id, 1695n]])
    expect(await invoicesOf(shop, '?subscription=south')).toEqual([invoice])
    expect(shown(await invoicesOf(shop, '?customer=other'))).toEqual(['other: 0.00 + 0.00 = 0.00'])
  })
})
