import { describe, expect, test } from 'vitest'
import { ratePercentage } from '../../../../invoicer/billing/rating/percentage.ts'
import type { PercentagePrice } from '../../../../invoicer/billing/rating/price.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'

const rated = (change: Partial<PercentagePrice>, ...values: string[]) =>
  ratePercentage(
    { model: 'percentage', rate: '10', ...change },
    values.map((value) => ({ value: parseQuantity(value) })),
  )
const exactly = (change: Partial<PercentagePrice>, ...values: string[]) => rated(change, ...values).exact.toFixed()

describe('a percentage price (billing-rules, Tiers)', () => {
  test('is the rate on the value of every event, and a fixed amount for each', () => {
    expect(exactly({ fixed_amount: '2' }, '50', '100')).toBe('19')
    expect(exactly({ fixed_amount: '2' }, '0')).toBe('2')
    expect(exactly({ fixed_amount: '2' })).toBe('0')
  })

  test.each<[string, Partial<PercentagePrice>, string]>([
    ['free_events: the first ones, whatever their value', { free_events: '2' }, '42'],
    [
      'free_units: of the event that crosses them the part above pays, and its fixed amount',
      { free_units: '60' },
      '53',
    ],
    ['an event that ends on the last free unit is free', { free_units: '150' }, '42'],
    ['both: events stop first, and then no unit is free', { free_events: '1', free_units: '200' }, '54'],
    ['both: units stop first, within the free events', { free_events: '3', free_units: '60' }, '53'],
    ['both: the event behind the free ones pays in full', { free_events: '2', free_units: '160' }, '42'],
    ['0 does not limit', { free_events: '0', free_units: '60' }, '53'],
    ['0 does not limit the other way round', { free_events: '2', free_units: '0' }, '42'],
    ['both 0: nothing is free', { free_events: '0', free_units: '0' }, '61'],
  ])('free: %s', (_name, free, amount) => {
    // Running total 50, 150, 550.
    expect(exactly({ fixed_amount: '2', ...free }, '50', '100', '400')).toBe(amount)
  })

  test('each event is bounded by itself, with its fixed amount; a free one is not', () => {
    const bounds = { fixed_amount: '1', min_per_event: '5', max_per_event: '20' }
    expect(exactly(bounds, '10', '100', '1000')).toBe('36')
    expect(exactly({ ...bounds, free_events: '1' }, '10', '100', '1000')).toBe('31')
    expect(exactly({ ...bounds, free_units: '9' }, '10')).toBe('5')
    expect(exactly({ max_per_event: '0' }, '10')).toBe('0')
  })

  test('what came to stay within the free units again pays in full all the same', () => {
    expect(exactly({ free_units: '10' }, '12', '-5', '1')).toBe('-0.2')
  })

  test('the breakdown sums up the events', () => {
    const price = { fixed_amount: '1', free_units: '60', min_per_event: '6', max_per_event: '20' }
    expect(rated(price, '50', '30', '10', '1000').breakdown).toEqual([
      { type: 'free', events: 1, quantity: '60', amount: '0' },
      { type: 'percentage', quantity: '1030', rate: '10', amount: '103' },
      { type: 'fixed', events: 3, fixed_amount: '1', amount: '3' },
      { type: 'per_event_minimum', min_per_event: '6', amount: '7' },
      { type: 'per_event_maximum', max_per_event: '20', amount: '-81' },
    ])
  })
})
