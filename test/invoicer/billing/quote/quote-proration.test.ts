import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { quoteProration } from '../../../../invoicer/billing/quote/quote-proration.ts'
import { formatMoney } from '../../../../schemas/money.ts'
import { ODD_ZONES } from '../../../support/odd-zones.ts'
import { runs } from '../../../support/runs.ts'
import { secondUnusedMinor } from './second/proration.ts'

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const march = { start: '2024-03-01T00:00:00Z', end: '2024-04-01T00:00:00Z' }
const change = {
  kind: 'proration',
  basis: 'second',
  timezone: 'UTC',
  period: march,
  at: '2024-03-16T12:00:00Z',
  from: '100.00',
  to: '300.00',
  currency: 'USD',
}
const quoted = (input: object) => quoteProration({ ...change, ...input })

/** Issue 7: `quote`, kind proration. The worked cases are data, in cases/periods.jsonl. */
describe('a quoted change of a fee', () => {
  test('credits what is unused of the old fee and charges the new one from then on', () => {
    expect(quoted({})).toEqual({ credit: '-50.00', charge: '150.00', net: '100.00' })
    expect(quoted({ from: '300.00', to: '100.00' })).toEqual({ credit: '-150.00', charge: '50.00', net: '-100.00' })
  })

  test('is by the second of UTC where no more is said', () => {
    const { basis: _basis, timezone: _timezone, ...rest } = change
    expect(quoteProration(rest)).toEqual(quoted({}))
  })

  test('by the day gives the day of the change to the new fee, whatever the hour', () => {
    const byDay = { basis: 'day', from: '31', to: '62' }
    const expected = { credit: '-16.00', charge: '32.00', net: '16.00' }
    expect(quoted({ ...byDay, at: '2024-03-16T00:00:00Z' })).toEqual(expected)
    expect(quoted({ ...byDay, at: '2024-03-16T23:59:00Z' })).toEqual(expected)
    // In New York that is still the 16th, of a period from 29 February to 31 March: 15 days are left.
    const newYork = { ...byDay, at: '2024-03-17T03:59:00Z', timezone: 'America/New_York' }
    expect(quoted(newYork)).toEqual({ credit: '-15.00', charge: '30.00', net: '15.00' })
  })

  test('at the start changes all of the period, at its end nothing', () => {
    expect(quoted({ at: march.start })).toEqual({ credit: '-100.00', charge: '300.00', net: '200.00' })
    expect(quoted({ at: march.end })).toEqual({ credit: '0.00', charge: '0.00', net: '0.00' })
    expect(quoted({ at: march.end, basis: 'day' })).toEqual({ credit: '0.00', charge: '0.00', net: '0.00' })
  })

  test('floors times to the minute', () => {
    const seconds = { start: '2024-03-01T00:00:59.999Z', end: '2024-04-01T00:00:30Z' }
    expect(quoted({ period: seconds, at: '2024-03-16T12:00:59Z' })).toEqual(quoted({}))
    expect(quoted({ at: '2024-04-01T00:00:59Z' })).toMatchObject({ charge: '0.00' })
  })

  test('has the decimals of its currency, and fees of up to twelve', () => {
    expect(quoted({ currency: 'JPY', from: '101', to: '0' })).toEqual({ credit: '-51', charge: '0', net: '-51' })
    expect(quoted({ currency: 'KWD', from: 1, to: '3.0009' })).toEqual({
      ...{ credit: '-0.500', charge: '1.500', net: '1.000' },
    })
  })

  test('of one fee alone is its beginning or its end', () => {
    expect(quoted({ from: null })).toEqual({ credit: '0.00', charge: '150.00', net: '150.00' })
    expect(quoted({ to: undefined })).toEqual({ credit: '-50.00', charge: '0.00', net: '-50.00' })
  })

  test('has no upper limit, as a price has none: nothing is stored', () => {
    const large = '9'.repeat(26)
    const half = `4${'9'.repeat(25)}.50`
    expect(quoted({ from: '0', to: large })).toEqual({ credit: '0.00', charge: half, net: half })
  })

  test.each([
    ['basis', { basis: 'hour' }, 'second, day'],
    ['timezone', { timezone: 'Nowhere' }, 'not an IANA time zone'],
    ['period', { period: undefined }, 'This is missing'],
    ['period.start', { period: { end: march.end } }, 'This is missing'],
    ['period.zone', { period: { ...march, zone: 'UTC' } }, 'no such field'],
    ['period.end', { period: { start: march.end, end: march.start } }, 'must end after its start'],
    ['period.end', { period: { start: '2024-03-01T00:00:01Z', end: '2024-03-01T00:00:59Z' } }, 'a minute'],
    ['period.end', { period: { start: march.start, end: '2024-03-01T09:00:00Z' }, basis: 'day' }, 'no days'],
    ['at', { at: '2024-02-29T23:59:59Z' }, 'must lie in the period'],
    ['at', { at: '2024-04-01T00:01:00Z' }, 'must lie in the period'],
    ['at', { at: 1710590400 }, 'RFC 3339'],
    ['from', { from: undefined, to: null }, 'This is missing. Send from, to, or both.'],
    ['from', { from: '-1' }, 'must not be negative'],
    ['to', { to: '1e3' }, 'Send a decimal'],
    ['to', { to: 0.1 + 0.2 }, 'send it as a string'],
    ['currency', { currency: 'EURO' }, 'ISO 4217'],
    ['quantity', { quantity: '1' }, 'no such field'],
  ])('names the field %s of a bad case: %j', (field, wrong, message) => {
    expect(() => quoted(wrong)).toThrow(expect.objectContaining({ field, message: expect.stringContaining(message) }))
  })

  test('agrees with a second implementation in whole numbers', () => {
    const input = fc.record({
      start: fc.integer({ min: Date.UTC(2005, 0, 1), max: Date.UTC(2035, 0, 1) }),
      days: fc.integer({ min: 2, max: 40 }),
      place: fc.double({ min: 0, max: 1, noNaN: true }),
      from: fc.bigInt(0n, 10n ** 10n),
      to: fc.bigInt(0n, 10n ** 10n),
      unit: fc.constantFrom('second' as const, 'day' as const),
      zone: fc.constantFrom(...ODD_ZONES),
    })
    fc.assert(
      fc.property(input, ({ start: startMs, days, place, from, to, unit, zone }) => {
        const endMs = startMs + days * DAY_MS
        const atMs = startMs + Math.floor(place * days * DAY_MS)
        const text = (ms: number) => new Date(ms).toISOString()
        // 10 ** 5 parts of a dollar are thousandths of a cent.
        const fee = (thousandths: bigint) =>
          `${thousandths / 100_000n}.${(thousandths % 100_000n).toString().padStart(5, '0')}`
        const found = quoteProration({
          ...{ kind: 'proration', basis: unit, timezone: zone, currency: 'USD', from: fee(from), to: fee(to) },
          ...{ period: { start: text(startMs), end: text(endMs) }, at: text(atMs) },
        })
        const unused = (thousandths: bigint) => secondUnusedMinor({ unit, zone, startMs, endMs, atMs, thousandths })
        const [credit, charge] = [-unused(from), unused(to)]
        expect(found).toEqual({
          ...{ credit: formatMoney(credit, 'USD'), charge: formatMoney(charge, 'USD') },
          net: formatMoney(credit + charge, 'USD'),
        })
      }),
      { numRuns: runs(400) },
    )
  })
})
