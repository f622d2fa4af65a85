import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BadCase } from '../../../../invoicer/billing/quote/bad-case.ts'
import { quoteAggregate } from '../../../../invoicer/billing/quote/quote-aggregate.ts'
import { quotePeriods } from '../../../../invoicer/billing/quote/quote-periods.ts'
import { quoteProration } from '../../../../invoicer/billing/quote/quote-proration.ts'
import { runs } from '../../../support/runs.ts'

const odd = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom('0', '-0', '-1', '1e5', '9'.repeat(26), '0001-01-01T00:00Z', '9999-12-31T23:59:59Z', 'Etc/UTC'),
  fc.constantFrom('__proto__', 'constructor', 'toString', 1e300, -0, 2 ** 53, Number.MIN_VALUE),
)
const instant = fc
  .date({ min: new Date('0000-01-01T00:00Z'), max: new Date('9999-12-31T23:59Z'), noInvalidDate: true })
  .map((date) => date.toISOString())
const within = fc.constantFrom('2011-12-01T00:00:00Z', '2011-12-30T12:34:56Z', '2012-01-01T00:00:00Z')
const period = fc.oneof(fc.record({ start: instant, end: instant }), fc.record({ start: within, end: within }))
const amount = fc.oneof(fc.bigInt(0n, 1000n), fc.bigInt(-(10n ** 27n), 10n ** 27n)).map(String)
const event = fc.record({ time: fc.oneof(instant, odd), value: fc.oneof(amount, odd) }, { requiredKeys: [] })

/** Cases in which any field, and sometimes several, is not what it should be. */
const KINDS = [
  {
    quote: quotePeriods,
    likely: {
      anchor: instant,
      interval: fc.constantFrom('day', 'week', 'month', 'quarter', 'half_year', 'year'),
      every: fc.integer({ min: 0, max: 200_000 }),
      timezone: fc.constantFrom('UTC', 'Pacific/Apia', 'Africa/Casablanca'),
      count: fc.integer({ min: -1, max: 30 }),
    },
  },
  {
    quote: quoteProration,
    likely: {
      ...{ basis: fc.constantFrom('second', 'day'), timezone: fc.constantFrom('UTC', 'Pacific/Apia') },
      ...{ period, at: fc.oneof(instant, within), from: amount, to: amount, currency: fc.constantFrom('USD', 'JPY') },
    },
  },
  {
    quote: quoteAggregate,
    likely: {
      aggregation: fc.constantFrom('count', 'sum', 'average', 'percentile', 'time_weighted_sum', 'unique_count'),
      ...{ events: fc.array(event, { maxLength: 5 }), initial: amount, period, percentile: amount },
    },
  },
]

test.each(KINDS)('$quote.name answers any case, or names its field and what is wrong', ({ quote, likely }) => {
  const anything = Object.fromEntries(
    Object.entries(likely).map(([name, usual]) => [
      name,
      fc.oneof({ weight: 6, arbitrary: usual as fc.Arbitrary<unknown> }, { weight: 1, arbitrary: odd }),
    ]),
  )
  let answered = 0
  fc.assert(
    fc.property(fc.record(anything, { requiredKeys: [] }), (input) => {
      try {
        expect(JSON.stringify(quote(input))).not.toMatch(/null|NaN|Infinity|"-0(\.0+)?"/)
        answered += 1
      } catch (error) {
        if (!(error instanceof BadCase)) throw error
        expect(error.field).not.toBe('')
        expect(error.message).not.toBe('')
      }
    }),
    { numRuns: runs(3_000) },
  )
  expect(answered).toBeGreaterThan(0)
})
