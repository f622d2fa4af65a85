import { describe, expect, test } from 'vitest'
import { checkPlanPrice, checkShape } from '../../../../invoicer/billing/rating/price-shape.ts'

describe('the shape of a price is compared with that of its own model', () => {
  test.each<[string, unknown, string, RegExp]>([
    ['no object', 'flat', '', /an object with a model/],
    ['a list', [], '', /an object with a model/],
    ['no model', { amount: '1' }, '/model', /^Send one of flat, .*, matrix\.$/],
    ['an unknown model', { model: 'valueOf' }, '/model', /^Send one of/],
    ['a missing member', { model: 'package', amount: '1' }, '/package_size', /missing/],
    ['an unknown member', { model: 'flat', amount: '1', extra: true }, '/extra', /no such field/],
    ['a number where text belongs', { model: 'flat', amount: 20 }, '/amount', /as a string/],
    ['a text that is no decimal', { model: 'flat', amount: '1e3' }, '/amount', /as a string/],
    ['no tier', { model: 'volume', tiers: [] }, '/tiers', /^This must/],
    [
      'another rounding',
      { model: 'package', amount: '1', package_size: '1', round: 'near' },
      '/round',
      /^Send one of up, down\.$/,
    ],
  ])('%s', (_name, price, path, message) => {
    expect(checkShape(price)).toEqual({ path, message: expect.stringMatching(message) })
  })

  test('what is right has nothing wrong, and is then checked as the price of a plan', () => {
    expect(checkShape({ model: 'flat', amount: '1' })).toBeUndefined()
    expect(checkPlanPrice({ model: 'flat', amount: '1' })).toEqual([])
    expect(checkPlanPrice({ model: 'flat', amount: 1 })).toMatchObject([{ path: '/amount' }])
    expect(checkPlanPrice({ model: 'flat', amount: '-1' })).toMatchObject([{ path: '/amount' }])
    const matrix = { model: 'matrix', dimensions: ['a'], cells: [], default_unit_amount: '1' }
    expect(checkPlanPrice(matrix, 'max')).toMatchObject([
      { path: '/model', message: expect.stringContaining('adds its events up') },
    ])
    expect(checkPlanPrice(matrix, 'sum')).toEqual([])
  })
})
