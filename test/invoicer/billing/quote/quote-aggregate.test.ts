import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { quoteAggregate } from '../../../../invoicer/billing/quote/quote-aggregate.ts'
import { AGGREGATIONS } from '../../../../schemas/meter/aggregation.ts'
import { runs } from '../../../support/runs.ts'
import { type Reading, slowAggregate, slowIntegral } from './second/aggregate.ts'

const quantity = (input: object) => (quoteAggregate({ kind: 'aggregate', ...input }) as { quantity: string }).quantity
const events = (...values: unknown[]) => values.map((value) => ({ value }))
const august = { start: '2023-08-01T00:00:00Z', end: '2023-09-01T00:00:00Z' }
const levels = { aggregation: 'time_weighted_sum', period: august }
const event = (time: string, value: string | number) => ({ time, value })

/** Issue 7: `quote`, kind aggregate. The worked cases are data, in cases/periods.jsonl. */
describe('a quoted aggregate', () => {
  test.each([
    ['count', '4'],
    ['sum', '90'],
    ['average', '22.5'],
    ['min', '10'],
    ['max', '30'],
    ['unique_count', '3'],
    ['latest', '30'],
  ])('R11: the %s of 10, 20, 30 and 30 is %s', (aggregation, expected) => {
    expect(quantity({ aggregation, events: events('10', '20', '30', 30) })).toBe(expected)
  })

  test.each(AGGREGATIONS)('the %s of nothing is 0', (aggregation) => {
    const percentile = aggregation === 'percentile' ? { percentile: '50' } : {}
    expect(quantity({ aggregation, events: [], period: august, ...percentile })).toBe('0')
  })

  test('a percentile is the nearest rank', () => {
    const values = events('15', '20', '35', '40', '50')
    const ranks = ['0.0001', '5', '20', '20.1', '30', '40', '50', '100']
    const found = ranks.map((percentile) => quantity({ aggregation: 'percentile', percentile, events: values }))
    expect(found).toEqual(['15', '15', '15', '20', '20', '20', '35', '50'])
  })

  test('an average is rounded to 12 places, half away from zero; sums are exact', () => {
    expect(quantity({ aggregation: 'average', events: events('1', '1', '0') })).toBe('0.666666666667')
    expect(quantity({ aggregation: 'average', events: events('0.000000000001', '0') })).toBe('0.000000000001')
    expect(quantity({ aggregation: 'average', events: events('-0.000000000001', '0') })).toBe('-0.000000000001')
    const large = '9'.repeat(26)
    expect(quantity({ aggregation: 'sum', events: events(large, '0.000000000001') })).toBe(`${large}.000000000001`)
  })

  test('things are told apart by their text, and what has none is not counted', () => {
    const things = [...events('a', 'b', 'a', '30', 30, '30.0', true, 'true', '', null), {}]
    expect(quantity({ aggregation: 'unique_count', events: things })).toBe('6')
    expect(quantity({ aggregation: 'count', events: things })).toBe('11')
  })

  test('the period is half-open: an event at its end belongs to the next', () => {
    const around = [event('2023-07-31T23:59:59.999Z', 1), event(august.start, 10), event(august.end, 100)]
    expect(quantity({ aggregation: 'sum', events: around, period: august })).toBe('10')
    expect(quantity({ aggregation: 'count', events: around, period: august })).toBe('1')
    expect(quantity({ aggregation: 'sum', events: around })).toBe('111')
  })

  test('the latest is so by its time; of one instant, the later given', () => {
    const given = [
      event('2023-08-02T00:00:00Z', 5),
      event('2023-08-03T02:00:00+02:00', 6),
      event('2023-08-01T00:00:00Z', 7),
    ]
    expect(quantity({ aggregation: 'latest', events: given })).toBe('6')
    expect(quantity({ aggregation: 'latest', events: [...given, event('2023-08-03T00:00:00Z', 8)] })).toBe('8')
  })

  test('with a window the maxima of hours or days of UTC are added', () => {
    const given = [event('2023-08-01T00:10:00Z', 5), event('2023-08-01T00:59:59Z', 7), event('2023-08-01T01:00:00Z', 2)]
    const peaks = { aggregation: 'max', events: [...given, event('2023-08-02T01:00:00Z', 1)] }
    expect(quantity({ ...peaks, window: 'hour' })).toBe('10')
    expect(quantity({ ...peaks, window: 'day' })).toBe('8')
    expect(quantity({ ...peaks, aggregation: 'sum', window: 'day' })).toBe('15')
  })
})

/** Issue 5: "a value is a change of the level; Σ level × seconds it lasted ÷ seconds of the window". */
describe('a quoted time-weighted sum', () => {
  test('weighs each level by the time it lasted', () => {
    const changes = [event('2023-08-11T00:00:00Z', '31'), event('2023-08-21T00:00:00Z', '-31')]
    expect(quantity({ ...levels, events: changes })).toBe('10')
    expect(quantity({ ...levels, events: [...changes].reverse(), initial: '100' })).toBe('110')
  })

  test('carries in the level from before: what it was, and changes before the period', () => {
    expect(quantity({ ...levels, events: [], initial: '1000' })).toBe('1000')
    const before = [event('2023-07-01T00:00:00Z', '5'), event('2023-07-31T23:59:59Z', '-2')]
    expect(quantity({ ...levels, events: before })).toBe('3')
    expect(quantity({ ...levels, events: before, initial: '7' })).toBe('10')
  })

  test('a change at the start lasts all the period, one at the end not at all', () => {
    expect(quantity({ ...levels, events: [event(august.start, 8), event(august.end, 1000)] })).toBe('8')
  })

  test('changes of one instant add up, in any order', () => {
    const twice = [event('2023-08-16T12:00:00Z', 3), event('2023-08-16T12:00:00Z', 3)]
    expect(quantity({ ...levels, events: twice })).toBe('3')
  })
})

describe('a bad case of an aggregate', () => {
  const counted = { aggregation: 'sum', events: events('1') }
  test.each([
    ['aggregation', { aggregation: 'median' }, 'count, sum, min'],
    ['aggregation', { aggregation: 'p95' }, 'count, sum, min'],
    ['aggregation', { aggregation: null }, 'This is missing'],
    ['events', { events: undefined }, 'This is missing'],
    ['events.0', { events: ['1'] }, 'must be an object'],
    ['events.1.value', { events: [{ value: '1' }, {}] }, 'This is missing'],
    ['events.0.value', { events: events('1e3') }, 'Send a decimal'],
    ['events.0.value', { aggregation: 'unique_count', events: events({}) }, 'Send a decimal'],
    ['events.0.values', { events: [{ values: '1' }] }, 'no such field'],
    ['events.0.time', { events: [event('yesterday', 1)] }, 'RFC 3339'],
    ['events.1.time', { events: [event(august.start, 1), { value: '1' }] }, 'with every event'],
    ['events.0.time', { aggregation: 'max', window: 'day' }, 'of every event'],
    [
      'events.2.time',
      { events: [{ ...event(august.start, 1), id: 'a' }, { value: '1', id: 'a' }, { value: '1' }] },
      'every event',
    ],
    ['events.0.time', { ...levels }, 'of every event'],
    ['period', { aggregation: 'time_weighted_sum', events: [] }, 'This is missing'],
    ['period.end', { period: { ...august, end: august.start } }, 'must end after its start'],
    ['initial', { initial: '5' }, 'Only a time_weighted_sum'],
    ['events.0.value', { events: events(null) }, 'Send a decimal'],
    ['events.0.id', { events: [{ value: '1', id: '' }] }, 'not empty'],
    ['events.0.id', { events: [{ value: '1', id: 2 ** 53 }] }, 'send it as a string'],
    ['events.0.source', { events: [{ value: '1', id: 'a', source: 5 }] }, 'must be text'],
    ['events.0.known_at', { events: [{ value: '1', known_at: 'later' }] }, 'RFC 3339'],
    ['timezone', { timezone: 'Nowhere' }, 'not an IANA time zone'],
    ['timezone', { aggregation: 'max', events: [], window: 'day', timezone: 'Asia/Tokyo' }, 'of UTC'],
    ['percentile', { aggregation: 'percentile' }, 'says which'],
    ['percentile', { percentile: '50' }, 'no other aggregation'],
    ['percentile', { aggregation: 'percentile', percentile: '0' }, 'above 0'],
    ['percentile', { aggregation: 'percentile', percentile: '100.1' }, 'at most 100'],
    ['window', { window: 'week' }, 'hour, day'],
    ['window', { aggregation: 'average', window: 'day' }, 'Only sum and max'],
    ['unit', { unit: 'GB' }, 'no such field'],
  ])('names its field %s: %j', (field, wrong, message) => {
    expect(() => quantity({ ...counted, ...wrong })).toThrow(
      expect.objectContaining({ field, message: expect.stringContaining(message) }),
    )
  })

  test('an initial of 0 says nothing, and goes with any aggregation', () => {
    expect(quantity({ ...counted, initial: '0', period: august })).toBe('1')
  })
})

/** Issue 7: "cross-checked against a second implementation". */
describe('aggregates and a second implementation', () => {
  const startMs = Date.parse(august.start)
  const minutes = 300
  const text = (minute: number) => new Date(startMs + minute * 60_000).toISOString()
  const decimal = (thousandths: bigint) => {
    const size = thousandths < 0n ? -thousandths : thousandths
    return `${thousandths < 0n ? '-' : ''}${size / 1000n}.${(size % 1000n).toString().padStart(3, '0')}`
  }
  const reading = fc.record({
    minute: fc.integer({ min: -50, max: minutes + 50 }),
    thousandths: fc.oneof(fc.bigInt(-5000n, 5000n), fc.bigInt(-(10n ** 15n), 10n ** 15n)),
  })
  const readings = fc.array(reading, { maxLength: 12 })
  const asEvents = (some: readonly Reading[]) =>
    some.map(({ minute, thousandths }) => event(text(minute), decimal(thousandths)))
  const period = { start: text(0), end: text(minutes) }

  test('agree on time-weighted sums: an integral, minute by minute', () => {
    fc.assert(
      fc.property(readings, fc.bigInt(-(10n ** 9n), 10n ** 9n), (some, initial) => {
        const found = quantity({ ...levels, period, initial: decimal(initial), events: asEvents(some) })
        expect(found).toBe(slowIntegral(some, initial, minutes))
      }),
      { numRuns: runs(500) },
    )
  })

  test('agree on all the others', () => {
    const others = AGGREGATIONS.filter((aggregation) => aggregation !== 'time_weighted_sum')
    fc.assert(
      fc.property(fc.constantFrom(...others), readings, fc.bigInt(1n, 100n), (aggregation, some, percent) => {
        const percentile = aggregation === 'percentile' ? { percentile: String(percent) } : {}
        const found = quantity({ aggregation, period, ...percentile, events: asEvents(some) })
        const counted = some.filter(({ minute }) => minute >= 0 && minute < minutes)
        expect(found).toBe(slowAggregate(aggregation, counted, percent))
      }),
      { numRuns: runs(3_000) },
    )
  })
})
