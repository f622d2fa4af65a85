import { afterAll, beforeAll, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER, NOVEMBER } from '../../support/world.ts'
import { AFTER, HOUR_MS, openShop, parkedOf, type Shop } from './shop.ts'

let database: TestDatabase
let worlds = 0
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

type Body = Record<string, unknown>
type Line = Body & { tax: Body }

/** A Canadian seller whose plan sells anything, software and books, with rates of its own. */
async function open(region: string | null): Promise<Shop> {
  worlds += 1
  const shop = await openShop(database, `tax-classes-${worlds}`, {
    ...{ key: 'canada', country: 'CA', tax_registrations: [{ country: 'CA', number: '1' }] },
  })
  const rates = [
    { rate_percent: '5', effective_from: '2020-01-01' },
    { region: 'CA-NS', rate_percent: '15', kind: 'hst', effective_from: '2020-01-01' },
    { tax_class: 'saas', rate_percent: '7', effective_from: '2020-01-01' },
    { region: 'CA-NS', tax_class: 'books', rate_percent: '1', effective_from: '2020-01-01' },
  ]
  for (const rate of rates) {
    const wanted = { country: 'CA', kind: 'gst', ...rate }
    expect(await shop.call('POST', '/tax-rates', wanted)).toMatchObject({ status: 201, body: rate })
    expect(await shop.call('POST', '/tax-rates', wanted)).toMatchObject({ status: 200, body: rate })
  }
  const flat = (amount: string) => ({ model: 'flat', amount })
  const plan = {
    ...{ key: 'mixed', name: 'Mixed', currency: 'USD', interval: 'month', alignment: 'calendar', fees: 'in_arrears' },
    grace_seconds: 3_600,
    charges: [
      { key: 'any', name: 'Any', price: flat('100.00') },
      { key: 'soft', name: 'Soft', price: flat('100.00'), tax_class: 'saas' },
      {
        ...{ key: 'use', name: 'Use', meter: 'context_tokens', tax_class: 'books' },
        price: { model: 'per_unit', unit_amount: '1' },
      },
    ],
  }
  const created = await shop.call('POST', '/plans', plan)
  expect(created).toMatchObject({ status: 201, body: { charges: [{}, { tax_class: 'saas' }, { tax_class: 'books' }] } })
  await shop.subscribe('ann', { plan: 'mixed', endMs: null })
  await shop.call('PATCH', '/customers/ann', { billing_address: { country: 'CA', region } })
  return shop
}
const invoices = async (shop: Shop) =>
  (await shop.call('GET', '/invoices')).body.invoices as (Body & { lines: Line[] })[]
const taxes = (invoice: Body & { lines: Line[] }) =>
  invoice.lines.map(
    ({ amount, tax }) => `${String(amount)}: ${String(tax.amount)} ${String(tax.code)} ${String(tax.tax_class)}`,
  )

/** Issue 7: tax by what is sold, and where. */
test('each line has the rate of its class and region, is previewed, explained and corrected by it', async () => {
  const shop = await open('NS')
  shop.clock.nowMs = NOVEMBER + 300 * HOUR_MS
  const manual = { external_key: 'manual', description: 'Manual', amount: '20.00', tax_class: 'books' }
  const item = { ...manual, customer: 'ann' }
  expect(await shop.call('POST', '/invoice-items', item)).toMatchObject({ status: 201, body: manual })
  expect((await shop.call('POST', '/invoice-items', { ...item, tax_class: 'saas' })).status).toBe(409)
  shop.use('ann', 'context_tokens', '300', NOVEMBER)
  const previewed = await shop.call('GET', '/subscriptions/ann/preview')
  expect(JSON.stringify(previewed.body)).toContain('CA-NS-GST')
  shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await shop.run()
  const [invoice] = await invoices(shop)
  expect(taxes(invoice!)).toEqual([
    '100.00: 15.00 CA-NS-HST null',
    '100.00: 15.00 CA-NS-HST null',
    '300.00: 3.00 CA-NS-GST books',
    '20.00: 0.20 CA-NS-GST books',
  ])
  expect(invoice!.lines[2]?.tax).toMatchObject({ region: 'CA-NS', rate_percent: '1', reason: 'reduced_rate' })
  const id = String(invoice!.id)
  const { tax } = (await shop.call('GET', `/invoices/${id}/lines/2/explain`)).body as { tax: { label: string } }
  expect(tax.label).toContain('Tax CA-NS-GST of region CA-NS of class books, reduced_rate')
  // What comes late is corrected with the terms of then, whatever the rate is by now.
  await shop.call('POST', '/tax-rates', {
    ...{
      country: 'CA',
      region: 'CA-NS',
      tax_class: 'books',
      rate_percent: '9',
      kind: 'gst',
      effective_from: '2020-06-01',
    },
  })
  shop.use('ann', 'context_tokens', '100', NOVEMBER, DECEMBER + 3 * HOUR_MS)
  shop.clock.nowMs = AFTER
  await shop.run()
  const later = (await invoices(shop)).at(-1)
  expect(taxes(later!)).toContain('100.00: 1.00 CA-NS-GST books')
})

test('the class of a country holds in regions without a rate of their own', async () => {
  const shop = await open('QC')
  shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await shop.run()
  const [invoice] = await invoices(shop)
  expect(taxes(invoice!)).toEqual(['100.00: 5.00 CA-GST null', '100.00: 7.00 CA-GST saas', '0.00: 0.00 CA-GST null'])
})

test('where the region is unclear the subscription is parked, never taxed by guess, and billed once it is told', async () => {
  const shop = await open(null)
  shop.clock.nowMs = DECEMBER + 2 * HOUR_MS
  await shop.run()
  expect(await invoices(shop)).toEqual([])
  expect(JSON.stringify(await parkedOf(shop))).toContain('set the region of the billing address')
  await shop.call('PATCH', '/customers/ann', { billing_address: { region: 'CA-NS' } })
  await shop.run()
  expect(await invoices(shop)).toHaveLength(1)
})

test('a region of another country, a class that is no name and a code that is none of Stripe’s are refused', async () => {
  const shop = await open('NS')
  const rate = { country: 'CA', kind: 'gst', rate_percent: '1', effective_from: '2021-01-01' }
  for (const wrong of [{ region: 'US-NY' }, { region: 'NS' }, { tax_class: 'Software Services' }]) {
    expect((await shop.call('POST', '/tax-rates', { ...rate, ...wrong })).status).toBe(400)
  }
  const codes = { saas: 'txcd_10103000' }
  const changed = await shop.call('PATCH', '/legal-entities/canada', { tax: { codes } })
  expect(changed).toMatchObject({ status: 200, body: { tax: { codes } } })
  expect((await shop.call('GET', '/legal-entities/canada')).body).toEqual(changed.body)
  expect((await shop.call('PATCH', '/legal-entities/canada', { tax: { codes: { saas: 'saas' } } })).status).toBe(400)
})
