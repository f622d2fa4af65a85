import { describe, expect, test } from 'vitest'
import { rateMatrix } from '../../../../invoicer/billing/rating/matrix.ts'
import type { MatrixPrice } from '../../../../invoicer/billing/rating/price.ts'
import { parseQuantity } from '../../../../schemas/quantity.ts'

const price: MatrixPrice = {
  model: 'matrix',
  dimensions: ['region', 'size', 'spot'],
  cells: [
    { when: { region: 'eu', size: 'large' }, unit_amount: '5' },
    { when: { region: 'eu' }, unit_amount: '3' },
    { when: { region: 'eu', spot: true }, unit_amount: '1' },
    { when: { size: '7' }, unit_amount: '2' },
  ],
  default_unit_amount: '10',
}
const exactly = (properties: Record<string, unknown>) =>
  rateMatrix(price, [{ value: parseQuantity('2'), properties }]).exact.toFixed()

describe('a matrix price', () => {
  test.each<[string, Record<string, unknown>, string]>([
    ['all dimensions of a cell hold', { region: 'eu', size: 'large' }, '10'],
    ['the first cell that holds wins over one that says more', { region: 'eu', spot: true }, '6'],
    ['no cell holds: the default', { region: 'us' }, '20'],
    ['no properties: the default', {}, '20'],
    ['numbers and text are compared as text', { size: 7 }, '4'],
    ['case counts', { region: 'EU' }, '20'],
    ['null, lists and objects equal nothing', { region: ['eu'], size: null }, '20'],
  ])('%s', (_name, properties, amount) => {
    expect(exactly(properties)).toBe(amount)
  })

  test('what every object inherits is no property', () => {
    const odd = ['constructor', '__proto__', 'toString'].map((name) => ({
      when: JSON.parse(`{"${name}":"undefined"}`) as Record<string, string>,
      unit_amount: '1',
    }))
    const { exact } = rateMatrix({ ...price, cells: odd }, [{ value: parseQuantity('2'), properties: {} }])
    expect(exact.toFixed()).toBe('20')
  })

  test('sums up by cell, the default last', () => {
    const events = [{ region: 'us' }, { region: 'eu' }, { region: 'eu', size: 's' }].map((properties, index) => ({
      value: parseQuantity(String(index + 1)),
      properties,
    }))
    const { exact, breakdown } = rateMatrix(price, events)
    expect(exact.toFixed()).toBe('25')
    expect(breakdown).toEqual([
      { type: 'cell', cell: 2, quantity: '5', unit_amount: '3', amount: '15' },
      { type: 'cell', cell: null, quantity: '1', unit_amount: '10', amount: '10' },
    ])
    expect(rateMatrix(price, []).breakdown).toEqual([])
  })
})
