import fc from 'fast-check'
import { expect, test } from 'vitest'
import { countAttributes } from '../../../invoicer/billing/attributes.ts'
import { parseQuantity, parseSum } from '../../../schemas/quantity.ts'

type Event = { payer: unknown; code: unknown; quantity: number }
const value = fc.oneof(fc.constantFrom<unknown>('a', 'b', 'B', 'é', '', 1, '1', true, null, ['a']), fc.string())
const events = fc.array(fc.record<Event>({ payer: value, code: value, quantity: fc.nat(100) }), { maxLength: 40 })
const counted = (all: readonly Event[], most: number) => {
  const counting = countAttributes(['payer', 'code'], most)
  for (const { quantity, ...properties } of all) counting.add(properties, parseQuantity(String(quantity)), 1)
  return counting.usage()
}

test('HC-13: events with the same payer and code are one row; what has none of them has null', () => {
  const all = [
    { payer: 'medicare', code: '99213', quantity: 2 },
    { payer: 'medicare', code: 99213, quantity: 3 },
    { payer: { name: 'x' }, code: undefined, quantity: 4 },
    { payer: 'aetna', code: true, quantity: 0 },
  ]
  expect(counted(all, 100)).toEqual({
    names: ['payer', 'code'],
    combinations: [
      { values: ['aetna', 'true'], quantity: '0', events: 1 },
      { values: ['medicare', '99213'], quantity: '5', events: 2 },
      { values: [null, null], quantity: '4', events: 1 },
    ],
    other: null,
  })
})

test('a zero byte, which Postgres does not keep, is shown as the sign for what cannot be shown', () => {
  const all = [{ payer: 'a\0', code: '\0', quantity: 2 }]
  expect(counted(all, 100).combinations).toEqual([{ values: ['a\uFFFD', '\uFFFD'], quantity: '2', events: 1 }])
})

test('of more than fit, those first in order are listed, and the rest is added up', () => {
  const all = ['d', 'b', 'a', 'c', 'b', 'd'].map((code, n) => ({ payer: 'p', code, quantity: 10 ** n }))
  expect(counted(all, 2)).toMatchObject({
    combinations: [
      { values: ['p', 'a'], quantity: '100' },
      { values: ['p', 'b'], quantity: '10010' },
    ],
    other: { quantity: '101001', events: 3 },
  })
})

test('whoever counts the same events again, in another order, finds the same; all of them are in it', () => {
  fc.assert(
    fc.property(events, fc.integer({ min: 1, max: 6 }), fc.nat(), (all, most, turn) => {
      const usage = counted(all, most)
      const at = all.length === 0 ? 0 : turn % all.length
      expect(counted([...all.slice(at), ...all.slice(0, at)], most)).toEqual(usage)
      expect(counted([...all].reverse(), most)).toEqual(usage)
      const rows = [...usage.combinations, ...(usage.other ? [usage.other] : [])]
      expect(usage.combinations.length).toBeLessThanOrEqual(most)
      expect(usage.other === null || usage.combinations.length === most).toBe(true)
      expect(rows.reduce((sum, row) => sum + row.events, 0)).toBe(all.length)
      const sum = rows.reduce((total, row) => total.plus(parseSum(row.quantity)), parseQuantity('0'))
      expect(sum.toNumber()).toBe(all.reduce((total, { quantity }) => total + quantity, 0))
    }),
  )
})
