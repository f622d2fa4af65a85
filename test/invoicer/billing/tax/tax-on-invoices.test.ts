import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createItem } from '../../../../invoicer/billing/items/create-item.ts'
import { grantCredit } from '../../../../invoicer/collection/credits/grant-credit.ts'
import { readCredit } from '../../../../invoicer/collection/credits/read-credit.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, JANUARY, NOVEMBER } from '../../support/world.ts'
import {
  AFTER,
  HELLAS,
  HOUR_MS,
  inGermany,
  inGreece,
  invoicesOf,
  openShop,
  parkedOf,
  type Shop,
  sell,
  shown,
} from './shop.ts'

const PAGE = { after: null, limit: 100 }
let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** A tenant of its own. */
function open(entity?: object): Promise<Shop> {
  worlds += 1
  return openShop(database, `tax-${worlds}`, entity)
}

describe('tax on invoices (issue 7)', () => {
  test('C1: of 39.00 an invoice of 14.29 and 24 % leaves 21.28, and one of 14.27 and 24 % then 3.59', async () => {
    const shop = await open()
    await sell(shop, 'a', '1429', inGreece, JANUARY)
    shop.use('a', 'context_tokens', '1427', DECEMBER)
    const grant = { externalKey: 'wallet', customer: 'a', name: null, amount: '39.00', priority: 0, expiresAtMs: null }
    await shop.transact(shop.tenantId, (tx) => grantCredit(tx, grant, shop))
    const left = async () => {
      const { balanceMinor } = await shop.transact(shop.tenantId, (tx) => readCredit(tx, 'a', PAGE, shop.clock.nowMs))
      return formatMoney(balanceMinor, 'USD')
    }
    // What will be charged is seen before.
    const preview = await shop.call('GET', '/subscriptions/a/preview?at=2023-11-30T00:00:00Z')
    expect(preview.body).toMatchObject({
      subtotal: '14.29',
      tax: '3.43',
      total: '17.72',
      amount_due: '17.72',
      lines: [{ amount: '14.29', tax: { amount: '3.43', rate_percent: '24', code: 'GR-VAT', inclusive: false } }],
    })
    await shop.run(DECEMBER + 2 * HOUR_MS)
    expect(await left()).toBe('21.28')
    await shop.run(AFTER)
    expect(await left()).toBe('3.59')
    const tax = { rate_percent: '24', code: 'GR-VAT', reason: 'standard_rate', certificate: null, inclusive: false }
    expect(await invoicesOf(shop)).toMatchObject([
      {
        ...{ number: 'HELLAS-000001', legal_entity: 'hellas', subtotal: '14.29', tax: '3.43', total: '17.72' },
        ...{ credit: '17.72', amount_due: '0.00', lines: [{ amount: '14.29', tax: { ...tax, amount: '3.43' } }] },
      },
      {
        ...{ number: 'HELLAS-000002', legal_entity: 'hellas', subtotal: '14.27', tax: '3.42', total: '17.69' },
        ...{ credit: '17.69', amount_due: '0.00', lines: [{ amount: '14.27', tax: { ...tax, amount: '3.42' } }] },
      },
    ])
    // A rate that is added later leaves what is issued.
    const before = await invoicesOf(shop)
    await shop.call('POST', '/tax-rates', { country: 'GR', rate_percent: '13', effective_from: '2023-01-01' })
    expect(await invoicesOf(shop)).toEqual(before)
  })

  test('every line says why it has no tax; whose tax is not known is parked, never untaxed, until it is', async () => {
    const shop = await open()
    const germanNumber = { tax_ids: [{ type: 'eu_vat', value: 'DE123456789' }] }
    await sell(shop, 'business', '1000', { ...inGermany, ...germanNumber })
    await sell(shop, 'consumer', '1000', { ...inGermany, ...germanNumber, kind: 'consumer' })
    await sell(shop, 'charity', '1000', { ...inGreece, tax_exemption: { reason: 'charity', certificate: 'C-77' } })
    await sell(shop, 'far', '1000', { billing_address: { country: 'US' } })
    await sell(shop, 'nowhere', '1000')
    await shop.run(AFTER)
    const invoices = await invoicesOf(shop)
    expect(shown(invoices).map((text) => text.replace(/ HELLAS-\d+/, ''))).toEqual([
      'business: 10.00 + 0.00 = 10.00 (0.00 DE-VAT reverse_charge)',
      'charity: 10.00 + 0.00 = 10.00 (0.00 GR-VAT exempt)',
      'consumer: 10.00 + 1.90 = 11.90 (1.90 DE-VAT standard_rate)',
      'far: 10.00 + 0.00 = 10.00 (0.00 US-TAX not_registered)',
    ])
    const charity = invoices.find(({ customer }) => customer.external_key === 'charity')
    expect(charity?.lines[0]?.tax).toMatchObject({ certificate: 'C-77' })
    const reason = 'The tax of customer "nowhere" is not known: set the country of its billing address.'
    expect(await parkedOf(shop)).toEqual([reason])
    expect(await shop.call('GET', '/subscriptions/nowhere/preview?at=2023-11-30T00:00:00Z')).toMatchObject({
      status: 500,
      body: { code: 'calculation_failed', detail: reason },
    })
    await shop.call('PATCH', '/customers/nowhere', inGreece)
    await shop.run(AFTER)
    expect(shown(await invoicesOf(shop))).toContain(
      'nowhere HELLAS-000005: 10.00 + 2.40 = 12.40 (2.40 GR-VAT standard_rate)',
    )
    expect(await parkedOf(shop)).toEqual([reason])
  })

  test('what is changed while a run reads usage, which may take long, counts', async () => {
    const shop = await open()
    await sell(shop, 'a', '1000')
    const { usage } = shop.deps
    shop.deps.usage = {
      ...usage,
      quantities: async (...asked) => {
        await shop.call('PATCH', '/customers/a', inGreece)
        return usage.quantities(...asked)
      },
    }
    await shop.run(AFTER)
    expect(shown(await invoicesOf(shop))).toEqual(['a HELLAS-000001: 10.00 + 2.40 = 12.40 (2.40 GR-VAT standard_rate)'])
  })

  test('inclusive and rounded per invoice, at a rate of one’s own', async () => {
    const shop = await open({ tax: { amounts: 'inclusive', rounding: 'per_invoice' } })
    const rate = { country: 'GR', rate_percent: '20', effective_from: '2023-11-01', effective_until: '2023-12-01' }
    expect(await shop.call('POST', '/tax-rates', rate)).toMatchObject({ status: 201, body: { ...rate, kind: 'vat' } })
    await sell(shop, 'a', '1240', inGreece, JANUARY)
    shop.use('a', 'context_tokens', '1240', DECEMBER)
    await shop.run(AFTER)
    expect(shown(await invoicesOf(shop))).toEqual([
      'a HELLAS-000001: 10.33 + 2.07 = 12.40 (2.07 GR-VAT standard_rate)',
      'a HELLAS-000002: 10.00 + 2.40 = 12.40 (2.40 GR-VAT standard_rate)',
    ])
  })
})

describe('late usage', () => {
  test('is billed by who billed its period, as that was taxed, though customer and settings have changed', async () => {
    const shop = await open({ tax: { amounts: 'inclusive' } })
    await sell(shop, 'a', '1240', inGreece, JANUARY)
    shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
    await shop.run()
    await shop.call('PATCH', '/legal-entities/hellas', { tax: { amounts: 'exclusive' } })
    await shop.call('POST', '/legal-entities', { ...HELLAS, key: 'north', number_prefix: 'N-1' })
    await shop.call('PATCH', '/customers/a', { legal_entity: 'north' })
    const rate = { country: 'GR', rate_percent: '20', effective_from: '2023-12-15' }
    expect((await shop.call('POST', '/tax-rates', rate)).status).toBe(201)
    // A one-time item has the rate of the day on which it was made.
    shop.clock.nowMs = DECEMBER + 3 * HOUR_MS
    const none = { subscription: null, currency: null, quantity: null, unitAmount: null }
    const setup = { externalKey: 'setup', customer: 'a', description: 'Setup', amount: '5.00', ...none }
    await shop.transact(shop.tenantId, (tx) => createItem(tx, setup, shop))
    shop.use('a', 'context_tokens', '620', NOVEMBER, DECEMBER + 24 * HOUR_MS)
    shop.use('a', 'context_tokens', '1000', DECEMBER + 24 * HOUR_MS)
    shop.clock.nowMs = AFTER
    await shop.run()
    const expected = [
      'a HELLAS-000001: 10.00 + 2.40 = 12.40 (2.40 GR-VAT standard_rate)',
      'a HELLAS-000002: 5.00 + 1.20 = 6.20 (1.20 GR-VAT standard_rate)',
      'a N-1-000001: 15.00 + 3.20 = 18.20 (2.00 GR-VAT standard_rate, 1.20 GR-VAT standard_rate)',
    ]
    expect(shown(await invoicesOf(shop))).toEqual(expected)
    await shop.run(AFTER)
    expect(shown(await invoicesOf(shop))).toEqual(expected)
  })
})
