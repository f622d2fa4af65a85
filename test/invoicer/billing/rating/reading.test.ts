import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkPrice } from '../../../../invoicer/billing/rating/check-price.ts'
import { type CountedPrice, countingOf, type Tally, tallyOf } from '../../../../invoicer/billing/rating/counting.ts'
import { feesOfAll } from '../../../../invoicer/billing/rating/percentage.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { rateCharge } from '../../../../invoicer/billing/rating/rate.ts'
import { readingOf } from '../../../../invoicer/billing/rating/reading.ts'
import { parseQuantity, ZERO } from '../../../../schemas/quantity.ts'

const percentage = (change: object): Price => ({ model: 'percentage', rate: '1.3', ...change })
const matrix: Price = {
  ...{ model: 'matrix', dimensions: ['region'], default_unit_amount: '1' },
  cells: [{ when: { region: 'eu' }, unit_amount: '2' }],
}

describe('what a price needs to know of usage', () => {
  test.each<[string, Price]>([
    ['total', { model: 'dynamic', multiplier: '2', included_units: '5' }],
    ['total', { model: 'graduated_percentage', tiers: [{ up_to: null, rate: '1' }] }],
    ['total', percentage({ free_units: '250', included_units: '5' })],
    ['total', percentage({ fixed_amount: '0', min_per_event: '0.0', free_events: '0' })],
    ['count', percentage({ fixed_amount: '2', included_units: '0' })],
    ['events', percentage({ min_per_event: '2' })],
    ['events', percentage({ max_per_event: '0' })],
    ['events', matrix],
    ['order', percentage({ free_events: '1' })],
    ['order', percentage({ fixed_amount: '2', free_units: '250' })],
    ['order', percentage({ max_per_event: '2', included_units: '5' })],
    ['order', { ...matrix, included_units: '5' }],
  ])('%s: %j', (reading, price) => {
    expect(readingOf(price)).toBe(reading)
  })
})

const maybe = (...texts: string[]) => fc.option(fc.constantFrom(...texts), { nil: undefined })
const price = fc
  .oneof(
    fc.record({
      ...{ model: fc.constant('percentage' as const), rate: fc.constantFrom('0', '1.3', '33') },
      ...{ fixed_amount: maybe('0', '0.2'), free_units: maybe('0', '7', '60'), free_events: maybe('0', '1', '3') },
      ...{ min_per_event: maybe('0', '0.5'), max_per_event: maybe('0.5', '3'), included_units: maybe('0', '12.5') },
    }),
    fc.record({ ...fixed(matrix), included_units: maybe('0', '12.5') }),
  )
  .map(
    (one) =>
      Object.fromEntries(Object.entries(one).filter(([, member]) => member !== undefined)) as unknown as CountedPrice,
  )
  .filter((one) => checkPrice(one).length === 0)
const events = fc.array(
  fc.record({
    value: fc.constantFrom('0', '0.25', '5', '12.5', '100').map(parseQuantity),
    properties: fc.constantFrom({ region: 'eu' }, { region: 'us' }, {}),
  }),
  { maxLength: 12 },
)
function fixed(members: object): Record<string, fc.Arbitrary<unknown>> {
  return Object.fromEntries(Object.entries(members).map(([name, member]) => [name, fc.constant(member)]))
}
const totalOf = (all: readonly { value: typeof ZERO }[]) => all.reduce((sum, { value }) => sum.plus(value), ZERO)

test('what a price needs is enough: the amount is that of all events in their order, also once stored as JSON', () => {
  fc.assert(
    fc.property(price, events, (one, all) => {
      const whole = rateCharge(one, totalOf(all), 'USD', all)
      const reading = readingOf(one)
      const stored = JSON.parse(JSON.stringify(tallyOf(one, all))) as Tally
      expect(rateCharge(one, totalOf(all), 'USD', stored)).toEqual(whole)
      if (reading === 'total') expect(rateCharge(one, totalOf(all), 'USD').amountMinor).toBe(whole.amountMinor)
      if (reading === 'count')
        expect(rateCharge(one, totalOf(all), 'USD', feesOfAll(all.length, totalOf(all)))).toEqual(whole)
      if (reading === 'events') {
        const counting = countingOf(one)
        for (const event of [...all].reverse()) counting.add(event)
        expect(rateCharge(one, totalOf(all), 'USD', counting.tally())).toEqual(whole)
      }
    }),
  )
})

test('events alike may be counted at once where their order makes no difference', () => {
  const bounded = percentage({ min_per_event: '0.5', max_per_event: '1', fixed_amount: '0.1' }) as CountedPrice
  const together = countingOf(bounded)
  together.add({ value: parseQuantity('7') }, 3)
  together.add({ value: parseQuantity('700') }, 2)
  const values = ['7', '700', '7', '7', '700'].map((value) => ({ value: parseQuantity(value) }))
  expect(together.tally()).toEqual(tallyOf(bounded, values))
})

test('what was counted for another model is no amount', () => {
  const cells = tallyOf(matrix as CountedPrice, [])
  expect(() => rateCharge(percentage({}), ZERO, 'USD', cells)).toThrow('counted as cells, and the price needs fees')
})
