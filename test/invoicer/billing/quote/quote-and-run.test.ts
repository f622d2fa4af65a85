import { afterAll, beforeAll, expect, test } from 'vitest'
import { quoteCase } from '../../../../invoicer/billing/quote/quote.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { parseQuantity, ZERO } from '../../../../schemas/quantity.ts'
import { createTestDatabase, type TestDatabase } from '../../../support/test-database.ts'
import { createMeter, createWorld, DECEMBER, NOVEMBER } from '../../support/world.ts'

let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterAll(() => database.drop())

const tiers = [
  { up_to: '100', unit_amount: '0.333', flat_amount: '1.005' },
  { up_to: null, unit_amount: '0.25' },
]
/** One charge of every model that a run can rate, with its usage in two parts. */
const CHARGES: { price: Price; used: [string, string] | null }[] = [
  { price: { model: 'flat', amount: '19.995', discount_percent: '12.5', minimum_amount: '18' }, used: null },
  { price: { model: 'per_unit', unit_amount: '0.0005', minimum_amount: '3' }, used: ['29', '1'] },
  { price: { model: 'graduated', tiers, included_units: '7.5', maximum_amount: '35' }, used: ['60.25', '70'] },
  { price: { model: 'volume', tiers }, used: ['100', '0.5'] },
  { price: { model: 'package', amount: '4', package_size: '12', discount_percent: '3' }, used: ['1', '24'] },
  { price: { model: 'percentage', rate: '1.3', free_units: '250' }, used: ['150', '250'] },
  {
    price: {
      model: 'graduated_percentage',
      tiers: [
        { up_to: '50', rate: '2', flat_amount: '1' },
        { up_to: null, rate: '1' },
      ],
    },
    used: ['49.99', '10'],
  },
  { price: { model: 'dynamic', multiplier: '1.33333' }, used: ['4', '6'] },
]

const sumOf = (texts: readonly string[]) => texts.reduce((sum, text) => sum.plus(parseQuantity(text)), ZERO).toFixed()

/** Issue 7: one test prices a whole invoice both through `quote` and through a run on a real database. */
test('a run bills each line, and its true-up, as it was quoted', async () => {
  const world = await createWorld(database, 'quoted')
  for (const index of CHARGES.keys()) await createMeter(database, world.tenantId, `m${index}`)
  const charges = CHARGES.map(({ price, used }, index) => ({
    key: `c${index}`,
    name: `Charge ${index}`,
    meter: used === null ? null : `m${index}`,
    price,
  }))
  await world.plan({ charges })
  await world.subscribe('someone')
  for (const [index, { used }] of CHARGES.entries()) {
    for (const [part, quantity] of (used ?? []).entries()) {
      world.use('someone', `m${index}`, quantity, part === 0 ? NOVEMBER : DECEMBER - 1)
    }
  }
  await world.run()
  const [invoice] = await world.invoices()

  const quoted = (price: Price, used: object) =>
    quoteCase({ kind: 'price', currency: 'USD', price, ...used }) as { amount: string; breakdown: object[] }
  const byEvents = CHARGES.map(({ price, used }) => quoted(price, { events: (used ?? []).map((value) => ({ value })) }))
  const byTotal = CHARGES.map(({ price, used }) => quoted(price, { quantity: sumOf(used ?? []) }))
  const billed = CHARGES.map((_, index) => {
    const lines = invoice!.lines.filter((line) => line.chargeKey === `c${index}`)
    return formatMoney(
      lines.reduce((sum, line) => sum + line.amountMinor, 0n),
      'USD',
    )
  })
  expect(billed).toEqual(byEvents.map((quote) => quote.amount))
  expect(billed).toEqual(['18.00', '3.00', '35.00', '25.13', '11.64', '1.95', '2.10', '13.33'])
  for (const [index, quote] of byTotal.entries()) {
    const [line] = invoice!.lines.filter((one) => one.chargeKey === `c${index}`)
    expect(quote.breakdown.slice(0, line!.breakdown.length)).toEqual(line!.breakdown)
  }
  const trueUps = invoice!.lines.filter((line) => line.breakdown[0]?.type === 'true_up')
  expect(trueUps.map((line) => [line.chargeKey, line.meter, line.amountMinor, line.usage])).toEqual([
    ['c0', null, 50n, null],
    ['c1', 'm1', 298n, null],
  ])
  expect(invoice!.lines.map((line) => line.index)).toEqual([...invoice!.lines.keys()])
  expect(invoice!.lines.filter((line) => line.usage !== null)).toHaveLength(CHARGES.length - 1)
})
