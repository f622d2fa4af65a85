import { expect, test } from 'vitest'
import type { UsedEvent } from '../../../../invoicer/billing/rating/breakdown.ts'
import { beyondIncluded, firstOnesIncluded } from '../../../../invoicer/billing/rating/included-units.ts'
import type { Price } from '../../../../invoicer/billing/rating/price.ts'
import { rateExact } from '../../../../invoicer/billing/rating/rate.ts'
import { parseQuantity, type Quantity } from '../../../../schemas/quantity.ts'

const eventsBeyondIncluded = (events: readonly UsedEvent[], included: Quantity) => {
  const beyondOf = firstOnesIncluded(included)
  return events.flatMap((event) => beyondOf(event) ?? [])
}
const beyond = (included: string, ...values: string[]) =>
  eventsBeyondIncluded(
    values.map((value) => ({ value: parseQuantity(value) })),
    parseQuantity(included),
  ).map(({ value }) => value.toFixed())

test.each([
  ['25', '15'],
  ['10', '0'],
  ['9.5', '0'],
  ['0', '0'],
  ['-4', '-4'],
])('of %s units %s are beyond 10 included ones', (quantity, rest) => {
  expect(beyondIncluded(parseQuantity(quantity), parseQuantity('10')).toFixed()).toBe(rest)
})

test('included units take the first units: whole events are gone, and one is cut where they end', () => {
  expect(beyond('10', '4', '4', '4', '4')).toEqual(['2', '4'])
  expect(beyond('8', '4', '4', '4')).toEqual(['4'])
  expect(beyond('100', '4', '4')).toEqual([])
})

test('an event of 0 is included as long as nothing is beyond', () => {
  expect(beyond('4', '0', '4', '0')).toEqual([])
  expect(beyond('4', '5', '0')).toEqual(['1', '0'])
})

test('what takes usage back gives included units back, so that the rest sums to what the total has beyond them', () => {
  expect(beyond('10', '15', '-10', '2', '8')).toEqual(['5', '-5', '5'])
  expect(beyond('10', '-5', '5')).toEqual(['-5', '5'])
})

test('0 included units include nothing, an event of 0 neither', () => {
  const price: Price = { model: 'percentage', rate: '1', fixed_amount: '2', included_units: '0' }
  const { exact, breakdown } = rateExact(price, parseQuantity('0'))
  expect(exact.toFixed()).toBe('2')
  expect(breakdown.map((entry) => entry.type)).toEqual(['percentage', 'fixed'])
})

test('an event keeps its properties', () => {
  const event = { value: parseQuantity('7'), properties: { region: 'eu' } }
  expect(eventsBeyondIncluded([event], parseQuantity('5'))).toMatchObject([{ properties: { region: 'eu' } }])
})
