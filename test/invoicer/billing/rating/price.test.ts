import { Compile } from 'typebox/compile'
import { describe, expect, test } from 'vitest'
import { checkPrice, Price } from '../../../../invoicer/billing/rating/price.ts'

const schema = Compile(Price)
const tier = (up_to: string | null, unit_amount = '1') => ({ up_to, unit_amount })
const graduated = (...tiers: ReturnType<typeof tier>[]): Price => ({ model: 'graduated', tiers })
const paths = (price: Price) => checkPrice(price).map((error) => error.path)

describe('the shape of a price', () => {
  test.each<[string, unknown]>([
    ['flat', { model: 'flat', amount: '20.00' }],
    ['per unit', { model: 'per_unit', unit_amount: '0.000003' }],
    ['graduated', { model: 'graduated', tiers: [{ up_to: '10', unit_amount: '1', flat_amount: '2' }, tier(null)] }],
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
    ['several things at once', graduated(tier('5', '-1'), tier('3')), [...['/tiers/0/unit_amount', '/tiers/1/up_to']]],
  ])('%s is named by its path', (_name, price, expected) => {
    expect(paths(price)).toEqual(expected)
  })

  test('amounts of 0, also written -0, and ascending fractional bounds are fine', () => {
    expect(paths({ model: 'flat', amount: '-0.00' })).toEqual([])
    expect(paths(graduated(tier('0.5', '0'), tier('9'), tier('10.25'), tier(null)))).toEqual([])
  })
})
