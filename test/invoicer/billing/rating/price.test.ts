import { Compile } from 'typebox/compile'
import { describe, expect, test } from 'vitest'
import { checkBillable, checkPrice } from '../../../../invoicer/billing/rating/check-price.ts'
import { type MatrixPrice, Price } from '../../../../invoicer/billing/rating/price.ts'

const schema = Compile(Price)
const tier = (up_to: string | null, unit_amount = '1') => ({ up_to, unit_amount })
const graduated = (...tiers: ReturnType<typeof tier>[]): Price => ({ model: 'graduated', tiers })
const matrix: MatrixPrice = { model: 'matrix', dimensions: ['region', 'size'], cells: [], default_unit_amount: '1' }
const modifiers = { included_units: '1', discount_percent: '100', maximum_amount: '2', minimum_amount: '3' }
const paths = (price: Price) => checkPrice(price).map((error) => error.path)

describe('the shape of a price', () => {
  test.each<[string, unknown]>([
    ['flat', { model: 'flat', amount: '20.00' }],
    ['per unit', { model: 'per_unit', unit_amount: '0.000003' }],
    ['graduated', { model: 'graduated', tiers: [{ up_to: '10', unit_amount: '1', flat_amount: '2' }, tier(null)] }],
    ['volume', { model: 'volume', tiers: [tier('10'), tier(null)] }],
    ['package', { model: 'package', amount: '5', package_size: '0.5', round: 'down' }],
    ['percentage', { model: 'percentage', rate: '1.3', fixed_amount: '2', free_units: '5', free_events: '3' }],
    ['bounded percentage', { model: 'percentage', rate: '0', min_per_event: '1', max_per_event: '1.0' }],
    ['graduated percentage', { model: 'graduated_percentage', tiers: [{ up_to: null, rate: '1', flat_amount: '2' }] }],
    ['dynamic', { model: 'dynamic', multiplier: '1.3' }],
    ['matrix', { ...matrix, cells: [{ when: { region: 'eu', size: 3 }, unit_amount: '1' }] }],
    ['modified', { ...matrix, ...modifiers }],
  ])('%s is taken, and can be rated', (_name, price) => {
    expect(schema.Check(price)).toBe(true)
    expect(checkPrice(price as Price)).toEqual([])
  })

  test.each<[string, unknown]>([
    ['an unknown model', { model: 'free' }],
    ['a number where text belongs', { model: 'flat', amount: 20 }],
    ['the amount of another model', { model: 'per_unit', amount: '1' }],
    ['a member nobody declared', { model: 'flat', amount: '1', currency: 'USD' }],
    ['a misspelt member of a tier', { model: 'graduated', tiers: [{ ...tier(null), flat: '1' }] }],
    ['no tier', { model: 'graduated', tiers: [] }],
    ['four dimensions', { ...matrix, dimensions: ['a', 'b', 'c', 'd'] }],
    ['a cell that compares with a list', { ...matrix, cells: [{ when: { region: ['eu'] }, unit_amount: '1' }] }],
    ['another way to round', { model: 'package', amount: '1', package_size: '1', round: 'nearest' }],
    ['a unit amount in a tier of percents', { model: 'graduated_percentage', tiers: [tier(null)] }],
    ['13 decimals', { model: 'flat', amount: '0.0000000000001' }],
    ['an exponent', { model: 'flat', amount: '1e3' }],
  ])('%s is refused', (_name, price) => {
    expect(schema.Check(price)).toBe(false)
  })
})

describe('what is wrong with a price', () => {
  test.each<[string, Price, string[]]>([
    ['a negative flat amount', { model: 'flat', amount: '-0.01' }, ['/amount']],
    ['a negative unit amount', { model: 'per_unit', unit_amount: '-1' }, ['/unit_amount']],
    ['an amount that is no decimal', { model: 'flat', amount: 'NaN' }, ['/amount']],
    ['no tiers', graduated(), ['/tiers']],
    ['a last tier with a bound', graduated(tier('10')), ['/tiers/0/up_to']],
    ['an open tier before the last', graduated(tier(null), tier(null)), ['/tiers/0/up_to']],
    ['equal bounds', graduated(tier('10'), tier('10.0'), tier(null)), ['/tiers/1/up_to']],
    ['bounds that descend as numbers, not as text', graduated(tier('10'), tier('9'), tier(null)), ['/tiers/1/up_to']],
    ['a first bound of 0', graduated(tier('0'), tier(null)), ['/tiers/0/up_to']],
    ['a negative bound', graduated(tier('-5'), tier(null)), ['/tiers/0/up_to']],
    ['a bound that is no decimal', graduated(tier('ten'), tier(null)), ['/tiers/0/up_to']],
    ['a negative price in a tier', graduated(tier('1'), tier(null, '-1')), ['/tiers/1/unit_amount']],
    [
      'a negative flat amount in a tier',
      { model: 'graduated', tiers: [{ ...tier(null), flat_amount: '-2' }] },
      ['/tiers/0/flat_amount'],
    ],
    ['a package of nothing', { model: 'package', amount: '1', package_size: '0' }, ['/package_size']],
    ['half a free event', { model: 'percentage', rate: '1', free_events: '1.5' }, ['/free_events']],
    [
      'bounds of an event that cross',
      { model: 'percentage', rate: '1', min_per_event: '2', max_per_event: '1.9' },
      ['/min_per_event'],
    ],
    [
      'a negative rate in a tier',
      { model: 'graduated_percentage', tiers: [{ up_to: null, rate: '-1' }] },
      ['/tiers/0/rate'],
    ],
    [
      'tiers of a volume price that descend',
      { model: 'volume', tiers: [tier('2'), tier('1'), tier(null)] },
      ['/tiers/1/up_to'],
    ],
    ['a dimension named twice', { ...matrix, dimensions: ['region', 'region'] }, ['/dimensions/1']],
    [
      'a cell of another dimension',
      { ...matrix, cells: [{ when: { tier: 'a' }, unit_amount: '1' }] },
      ['/cells/0/when/tier'],
    ],
    ['a negative price in a cell', { ...matrix, cells: [{ when: {}, unit_amount: '-1' }] }, ['/cells/0/unit_amount']],
    ['more than all taken off', { model: 'flat', amount: '1', discount_percent: '100.01' }, ['/discount_percent']],
    ['a negative modifier', { model: 'flat', amount: '1', included_units: '-1' }, ['/included_units']],
    ['several things at once', graduated(tier('5', '-1'), tier('3')), [...['/tiers/0/unit_amount', '/tiers/1/up_to']]],
  ])('%s is named by its path', (_name, price, expected) => {
    expect(paths(price)).toEqual(expected)
  })

  test('amounts of 0, also written -0, and ascending fractional bounds are fine', () => {
    expect(paths({ model: 'flat', amount: '-0.00' })).toEqual([])
    expect(paths(graduated(tier('0.5', '0'), tier('9'), tier('10.25'), tier(null)))).toEqual([])
  })
})

describe('a plan takes a price that can be rated from what a meter counted', () => {
  test.each<[string, Price]>([
    ['percentage with free units', { model: 'percentage', rate: '1', free_units: '5' }],
    [
      'percentage with parts per event of 0',
      { model: 'percentage', rate: '1', fixed_amount: '0', free_events: '0.0', min_per_event: '-0' },
    ],
    ['graduated percentage', { model: 'graduated_percentage', tiers: [{ up_to: null, rate: '1' }] }],
    ['dynamic', { model: 'dynamic', multiplier: '2' }],
    ['volume with modifiers', { model: 'volume', tiers: [tier(null)], ...modifiers }],
    ['a matrix', matrix],
    ['a percentage with everything', { model: 'percentage', rate: '1', free_events: '2', max_per_event: '0' }],
  ])('%s is taken', (_name, price) => {
    expect(checkBillable(price)).toEqual([])
    expect(checkBillable(price, 'sum')).toEqual([])
    expect(checkBillable(price, 'count')).toEqual([])
  })

  test.each<[string, Price]>([
    ['a matrix', matrix],
    ['a fixed amount', { model: 'percentage', rate: '1', fixed_amount: '2' }],
    ['free events', { model: 'percentage', rate: '1', free_events: '2' }],
    ['a minimum per event', { model: 'percentage', rate: '1', min_per_event: '2' }],
    ['a maximum of 0 per event', { model: 'percentage', rate: '1', max_per_event: '0' }],
  ])('%s is refused where the meter does not add its events up', (_name, price) => {
    for (const aggregation of ['max', 'unique_count', 'latest', 'time_weighted_sum', 'average']) {
      const message = expect.stringMatching(new RegExp(`adds its events up \\(count, sum\\).*${aggregation}`))
      expect(checkBillable(price, aggregation)).toEqual([{ path: '/model', message }])
    }
    expect(checkBillable({ model: 'percentage', rate: '1', free_units: '5' }, 'max')).toEqual([])
  })

  test.each<[string, Price, string, RegExp]>([
    [
      'a dimension that is no path',
      { ...matrix, dimensions: ['a region!'], cells: [] },
      '/dimensions/0',
      /dotted path, whose keys are letters/,
    ],
    ['what cannot be rated at all', { model: 'flat', amount: '-1' }, '/amount', /must not be negative/],
  ])('%s is refused', (_name, price, path, message) => {
    expect(checkBillable(price)).toEqual([{ path, message: expect.stringMatching(message) }])
  })
})
