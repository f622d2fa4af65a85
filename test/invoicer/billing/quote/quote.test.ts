import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { quoteLine } from '../../../../invoicer/billing/quote/quote.ts'
import { runs } from '../../../support/runs.ts'
import { PRICES, priceCases } from './second/price-cases.ts'

type Answer = { amount?: string; error?: { field: string; message: string } }
const answered = (line: string) => JSON.parse(quoteLine(line)) as Answer
const quoted = (given: object) => answered(JSON.stringify(given))

const perUnit = { model: 'per_unit', unit_amount: '1' }
const good = { kind: 'price', currency: 'USD', price: perUnit, quantity: '2' }
const withPrice = (price: unknown) => ({ ...good, price })
const tiered = (...tiers: object[]) => withPrice({ model: 'graduated', tiers })
const matrix = (...cells: object[]) => ({ model: 'matrix', dimensions: ['region'], cells, default_unit_amount: '1' })
const withEvents = (...events: unknown[]) => ({ kind: 'price', currency: 'USD', price: perUnit, events })
const time = '2024-03-01T00:00:00Z'

describe('a bad case names the field that is wrong (issue 7)', () => {
  test.each<[string, unknown, string]>([
    ['no object', 5, 'case'],
    ['null', null, 'case'],
    ['a list', [good], 'case'],
    ['no kind', {}, 'kind'],
    ['an unknown kind', { kind: 'free' }, 'kind'],
    ['a kind that every object has', { kind: 'constructor' }, 'kind'],
    ['no currency', { ...good, currency: undefined }, 'currency'],
    ['an unknown currency', { ...good, currency: 'XXX' }, 'currency'],
    ['a field nobody knows', { ...good, amount: '1' }, 'amount'],
    ['no price', { ...good, price: undefined }, 'price'],
    ['a price that is no object', { ...good, price: [] }, 'price'],
    ['no model', withPrice({}), 'price.model'],
    ['an unknown model', withPrice({ model: 'toString' }), 'price.model'],
    ['a missing member of a model', withPrice({ model: 'package', amount: '1' }), 'price.package_size'],
    ['the member of another model', withPrice({ ...perUnit, round: 'up' }), 'price.round'],
    [
      'a commitment of periods that a quote does not know',
      withPrice({ ...perUnit, commitment_amount: '5', commitment_periods: 3 }),
      'price.commitment_periods',
    ],
    ['a price that is no decimal', withPrice({ ...perUnit, unit_amount: '1e3' }), 'price.unit_amount'],
    ['a price as true', withPrice({ ...perUnit, unit_amount: true }), 'price.unit_amount'],
    ['a negative price', withPrice({ ...perUnit, unit_amount: '-1' }), 'price.unit_amount'],
    ['a price as an unclear number', withPrice({ ...perUnit, unit_amount: 1 / 3 }), 'price.unit_amount'],
    ['a null that every price needs', withPrice({ ...perUnit, unit_amount: null }), 'price.unit_amount'],
    ['a misspelt member, null too', withPrice({ ...perUnit, maximum: null }), 'price.maximum'],
    ['a misspelt member of the case, null too', { ...good, amount: null }, 'amount'],
    ['a zone that is none', { ...good, timezone: 'Nowhere' }, 'timezone'],
    ['a tier of nothing', tiered({ up_to: null }), 'price.tiers.0.unit_amount'],
    ['a flat amount of null alone', tiered({ up_to: null, flat_amount: null }), 'price.tiers.0.unit_amount'],
    ['a percentage of nothing', withPrice({ model: 'percentage', fixed_amount: null }), 'price.rate'],
    [
      'a matrix of no dimension',
      withPrice({ model: 'matrix', cells: [], default_unit_amount: '1' }),
      'price.dimensions',
    ],
    ['a cell for null', withPrice(matrix({ when: { region: null }, unit_amount: '2' })), 'price.cells.0.when.region'],
    ['a cell for nothing', withPrice(matrix({ when: null, unit_amount: '2' })), 'price.cells.0.when'],
    ['no tiers', tiered(), 'price.tiers'],
    ['a tier that is no object', withPrice({ model: 'volume', tiers: [5] }), 'price.tiers.0'],
    ['a first tier without a bound', tiered({ unit_amount: '1' }, { unit_amount: '1' }), 'price.tiers.0.up_to'],
    ['a last tier with a bound', tiered({ up_to: 5, unit_amount: '1' }), 'price.tiers.0.up_to'],
    ['a misspelt member of a tier', tiered({ up_to: null, unit_amount: '1', flat: '1' }), 'price.tiers.0.flat'],
    ['an unclear number in a tier', tiered({ up_to: null, unit_amount: 1e-13 }), 'price.tiers.0.unit_amount'],
    ['neither quantity nor events', { ...good, quantity: undefined }, 'quantity'],
    ['both', { ...withEvents(), quantity: '1' }, 'quantity'],
    ['a quantity with an exponent', { ...good, quantity: '1e3' }, 'quantity'],
    ['a quantity of 13 decimals', { ...good, quantity: '0.0000000000001' }, 'quantity'],
    ['a quantity of null', { ...good, quantity: null }, 'quantity'],
    ['events that are no list', { ...withEvents(), events: {} }, 'events'],
    ['an event without a value', withEvents({}), 'events.0.value'],
    ['an event that is no object', withEvents({ value: '1' }, 'x'), 'events.1'],
    ['a misspelt member of an event', withEvents({ value: '1', quantity: '1' }), 'events.0.quantity'],
    ['properties that are no object', withEvents({ value: '1', properties: 'eu' }), 'events.0.properties'],
    ['a day that does not exist', withEvents({ value: '1', time: '2024-02-30T00:00:00Z' }), 'events.0.time'],
    ['an hour that does not exist', withEvents({ value: '1', time: '2024-02-28T24:00:00Z' }), 'events.0.time'],
    ['a time with half an offset', withEvents({ value: '1', time: '2024-02-28T00:00:00+0' }), 'events.0.time'],
    ['an offset of a bare date', withEvents({ value: '1', time: '2024-02-28Z' }), 'events.0.time'],
    ['a time on some events', withEvents({ value: '1', time }, { value: '1' }), 'events.1.time'],
    ['already billed, without an amount', { ...good, already_billed: { quantity: '1' } }, 'already_billed.amount'],
    ['half a cent billed already', { ...good, already_billed: { amount: '0.005' } }, 'already_billed.amount'],
    ['final as text', { ...good, final: 'true' }, 'final'],
  ])('%s', (_name, given, field) => {
    const { error, ...rest } = quoted(given as object)
    expect(rest).toEqual({})
    expect(error).toEqual({ field, message: expect.stringMatching(/^\S.*\.$/) })
  })

  test('what is no JSON is answered too', () => {
    for (const line of ['', ' ', '{', 'undefined', '{"kind":"price"}x', '\u0000']) {
      expect(answered(line).error?.field).toBe('case')
    }
  })

  test('the name __proto__ is a name like any other', () => {
    expect(answered(`{"__proto__":1,${JSON.stringify(good).slice(1)}`).error?.field).toBe('__proto__')
    const line = JSON.stringify(good).replace('{"model"', '{"__proto__":{},"model"')
    expect(answered(line).error?.field).toBe('price.__proto__')
  })
})

describe('a case on the wire (billing-rules, Numbers)', () => {
  test('numbers mean what their shortest text says', () => {
    const asNumbers = { ...good, price: { ...perUnit, unit_amount: 0.1, maximum_amount: 1e2 }, quantity: 3 }
    expect(quoted(asNumbers).amount).toBe('0.30')
    expect(answered('{"kind":"price","currency":"USD","price":{"model":"flat","amount":1.10}}').amount).toBe('1.10')
    expect(answered(JSON.stringify(good).replace('"2"', '-0')).error?.message).toMatch(/send it as a string/)
  })

  test('an amount is exact however large it is', () => {
    const most = `${'9'.repeat(26)}.${'9'.repeat(12)}`
    const price = { ...perUnit, unit_amount: most, discount_percent: '99.999999999999' }
    const exactMinor = 10n ** 2n * (10n ** 38n - 1n) ** 2n
    const shown = (exactMinor + 10n ** 38n / 2n) / 10n ** 38n
    const text = `${shown / 100n}.${String(shown % 100n).padStart(2, '0')}`
    expect(quoted({ ...good, price, quantity: most }).amount).toBe(text)
  })

  test('an id comes back, with an amount or with an error', () => {
    expect(quoted({ ...good, id: 'R1' })).toEqual({ id: 'R1', ...quoted(good) })
    expect(quoted({ ...good, id: 7, quantity: 'x' })).toMatchObject({ id: 7, error: { field: 'quantity' } })
    expect(Object.keys(quoted(good))).not.toContain('id')
  })

  test('of duplicate keys the last wins', () => {
    expect(answered(JSON.stringify(good).replace('"quantity":"2"', '"quantity":"x","quantity":"5"')).amount).toBe(
      '5.00',
    )
  })

  test('a flat price needs no quantity, and no events are no usage', () => {
    expect(quoted({ kind: 'price', currency: 'JPY', price: { model: 'flat', amount: '20' } }).amount).toBe('20')
    expect(quoted(withEvents()).amount).toBe('0.00')
  })

  test('events count in the order of their times, equal times in the order given', () => {
    const price = { model: 'percentage', rate: '100', free_events: '1' }
    const at = (value: string, hour: string) => ({ value, time: `2024-03-01T${hour}:00:00Z` })
    const events = [at('5', '10'), at('1', '09'), at('3', '09')]
    expect(quoted({ ...withEvents(...events), price }).amount).toBe('8.00')
    expect(quoted({ ...withEvents({ value: '5' }, { value: '1' }), price }).amount).toBe('1.00')
  })
})

/** A writer of typed objects sends every member it knows, with null for what it does not have. */
describe('null', () => {
  const nulls = (...names: string[]) => Object.fromEntries(names.map((name) => [name, null]))
  const modifiers = nulls(
    'included_units',
    'discount_percent',
    'maximum_amount',
    'minimum_amount',
    'round',
    'free_units',
  )
  const parts = (list: object[] | undefined, names: string[]) => list?.map((one) => ({ ...nulls(...names), ...one }))

  test('in whatever may be left out changes nothing', () => {
    const anyCase = fc.oneof(...Object.values(PRICES).map((price) => priceCases(price)))
    fc.assert(
      fc.property(anyCase, (given) => {
        const { tiers, cells } = given.price as { tiers?: object[]; cells?: object[] }
        const price = {
          ...{ ...modifiers, ...given.price },
          ...{ tiers: parts(tiers, ['flat_amount', 'rate', 'unit_amount']) ?? null },
          ...{ cells: parts(cells, ['flat_amount']) ?? null },
        }
        const events = parts(given.events, ['time', 'known_at', 'properties', 'id', 'source', 'subject']) ?? null
        const empty = nulls('quantity', 'already_billed', 'final', 'timezone', 'note')
        expect(quoted({ ...empty, ...given, price, events })).toEqual(quoted(given))
      }),
      { numRuns: runs(500) },
    )
  })
})

describe('whatever stands on a line', () => {
  const isAnswer = (answer: Answer) =>
    typeof answer.error?.field === 'string' && answer.error.field !== ''
      ? answer.error.message !== ''
      : 'amount' in answer

  test('one answer comes, on one line', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), fc.string({ unit: 'binary' })), (line) => {
        const answer = quoteLine(line)
        expect(answer).not.toContain('\n')
        expect(isAnswer(JSON.parse(answer))).toBe(true)
      }),
      { numRuns: runs(300) },
    )
  })

  test('a good case with something replaced or removed gives an amount or an error that names a field', () => {
    const anyCase = fc.oneof(...Object.values(PRICES).map((price) => priceCases(price)))
    fc.assert(
      fc.property(anyCase, fc.nat(), fc.option(fc.jsonValue(), { nil: undefined }), (given, place, value) => {
        const answer = quoted(changed(given, place, value))
        expect(isAnswer(answer)).toBe(true)
        expect(answer.error?.message ?? '').not.toMatch(/cannot be computed/)
      }),
      { numRuns: runs(1_500) },
    )
  })
})

/** With one of its members, at any depth, replaced, or left out where the value is undefined. */
function changed(given: object, place: number, value: unknown): object {
  let seen = 0
  const total = JSON.stringify(given).split(/[:,[]/).length
  return JSON.parse(
    JSON.stringify(given, (key, member: unknown) => {
      if (key === '') return member
      seen += 1
      return seen === 1 + (place % total) ? value : member
    }),
  )
}
