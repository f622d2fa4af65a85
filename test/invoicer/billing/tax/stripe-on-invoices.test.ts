import { afterAll, beforeAll, expect, test } from 'vitest'
import { stripeTax } from '../../../../invoicer/billing/tax/tax-stripe.http.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { DECEMBER } from '../../support/world.ts'
import { AFTER, inGermany, invoicesOf, openShop, parkedOf, sell, shown } from './shop.ts'
import { calculationOf, startStripe } from './stripe-server.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

/** Issue 7: a tax service that is away leaves the invoice undone with a reason, never untaxed. */
test('a legal entity that asks Stripe is billed what Stripe says, and while it is away nothing', async () => {
  let isAway = true
  const stripe = await startStripe((asked) =>
    isAway ? { status: 400, body: { error: { message: 'It is being repaired.' } } } : calculationOf(19, asked),
  )
  const shop = await openShop(database, 'stripe', { tax: { engine: 'stripe' } })
  await sell(shop, 'a', '1000', inGermany)
  await sell(shop, 'b', '2000', inGermany)

  await shop.run(AFTER)
  const keyless = 'The tax of Stripe is not known: start the invoicer with STRIPE_TAX_KEY.'
  expect(await parkedOf(shop)).toEqual([keyless, keyless])
  expect(await shop.call('GET', '/subscriptions/a/preview?at=2023-11-30T00:00:00Z')).toMatchObject({
    ...{ status: 500, body: { code: 'calculation_failed', detail: keyless } },
  })

  shop.deps.tax = (...given) => stripeTax({ apiKey: 'sk_test_1', url: stripe.url }, () => DECEMBER)(...given)
  await shop.run(AFTER)
  expect(await parkedOf(shop)).toContain('Stripe Tax did not tell the tax: It is being repaired.')
  expect(await invoicesOf(shop)).toEqual([])

  isAway = false
  await shop.run(AFTER)
  expect(shown(await invoicesOf(shop))).toEqual([
    'a HELLAS-000001: 10.00 + 1.90 = 11.90 (1.90 DE-VAT standard_rate)',
    'b HELLAS-000002: 20.00 + 3.80 = 23.80 (3.80 DE-VAT standard_rate)',
  ])
  await stripe.close()
})
