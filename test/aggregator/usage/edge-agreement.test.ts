import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { cloudEvent, type Metering, openMetering } from '../../support/metering.ts'

let metering: Metering
let made = 0

beforeAll(async () => {
  metering = await openMetering()
})
afterAll(() => metering.close())

const SCHEMA = {
  type: 'record',
  name: 'Anything',
  fields: [
    {
      name: 'n',
      type: ['null', 'long', 'double', 'string', 'boolean', { type: 'map', values: 'long' }],
      default: null,
    },
  ],
}
const text = fc.oneof(
  fc
    .tuple(fc.bigInt({ min: 0n, max: 10n ** 27n }), fc.stringMatching(/^[0-9]{0,13}$/))
    .map(([n, f]) => (f ? `${n}.${f}` : `${n}`)),
  fc.constantFrom('007', '0', '-0', '0.000000000001', '1e3', 'NaN', '+5', '.5', '5.', '٣', '0x1', ''),
  fc.string({ unit: 'grapheme', maxLength: 10 }),
)
const value = fc.oneof(text, fc.nat(), fc.double(), fc.constant(null), fc.boolean(), fc.constant({ a: 1 }))

/**
 * The edge decides what a quantity is, and quotas draw what it read; ClickHouse reads the stored text again for usage
 * and invoices. Both must see the same number, or an event would draw one quantity and be billed another.
 */
test('every quantity that the edge takes is the quantity that is billed (invariant 6)', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 20 }), async (values) => {
      const tenant = await metering.tenant(`t-${made++}`)
      await tenant.call('PUT', '/event-types/llm.request', { schema: SCHEMA })
      await tenant.call('PUT', '/meters/n', { event_type: 'llm.request', aggregation: 'sum', value: 'n' })
      const limit = '99999999999999999999999999'
      for (const [n] of values.entries()) await tenant.call('PUT', `/quota/s-${n}/n`, { limit, window: 'month' })
      const events = values.map((one, n) => cloudEvent(`e-${n}`, { n: one }, { subject: `s-${n}` }))
      const { body } = await tenant.send(JSON.stringify(events))
      const outcomes = body.outcomes as { outcome: string; quota_remaining?: string }[]
      await metering.settled()
      const query = 'meter=n&group_by=subject&from=2026-11-01T00:00:00Z&to=2026-12-01T00:00:00Z'
      const usage = await tenant.call('GET', `/usage?${query}`)
      const windows = usage.body.windows as { subject: string; quantity: string }[]
      for (const [n, { outcome, quota_remaining }] of outcomes.entries()) {
        const billed = windows.find(({ subject }) => subject === `s-${n}`)?.quantity
        expect(billed === undefined).toBe(outcome !== 'accepted')
        if (billed === undefined || quota_remaining === undefined) continue
        // Draws are rounded up to micro-units, so what was drawn is less than a micro-unit above what is billed.
        const drawn = micro(limit) - micro(quota_remaining)
        expect(drawn - micro(billed)).toBe(/\.\d{7,}$/.test(billed) ? 1n : 0n)
      }
    }),
    { numRuns: 6 },
  )
})

/** Issue 5, "Meters": a value of a time-weighted sum is a change of the level. Clock: noon of 20 November 2026. */
test('a level rises and falls through the edge, has no limit, and a sum still takes nothing below 0', async () => {
  const tenant = await metering.tenant(`t-${made++}`)
  await tenant.call('PUT', '/event-types/llm.request', { schema: SCHEMA })
  await tenant.call('PUT', '/meters/level', {
    ...{ event_type: 'llm.request', aggregation: 'time_weighted_sum', value: 'n' },
  })
  const changes = [
    ['2026-11-18T12:00:00Z', 8],
    ['2026-11-19T06:00:00Z', -2],
    ['2026-11-19T12:00:00Z', '-14.5'],
    ['2026-11-19T18:00:00Z', 'many'],
  ] as const
  await tenant.call('PUT', '/event-types/other', { schema: SCHEMA })
  await tenant.call('PUT', '/meters/sum', { event_type: 'other', aggregation: 'sum', value: 'n' })
  const events = changes.map(([time, n], place) => cloudEvent(`c-${place}`, { n }, { subject: 's', time }))
  events.push(cloudEvent('o', { n: -1 }, { subject: 's', type: 'other' }))
  const { body } = await tenant.send(JSON.stringify(events))
  expect(body.outcomes).toMatchObject([
    { outcome: 'accepted' },
    { outcome: 'accepted' },
    { outcome: 'accepted' },
    { outcome: 'rejected', code: 'invalid_quantity', path: 'data.n', message: expect.not.stringContaining('negative') },
    { outcome: 'rejected', code: 'invalid_quantity', path: 'data.n', message: expect.stringContaining('not negative') },
  ])
  await metering.settled()
  const asked = 'meter=level&window=day&from=2026-11-18T00:00:00Z&to=2026-11-20T00:00:00Z'
  const usage = await tenant.call('GET', `/usage?${asked}`)
  const windows = usage.body.windows as { quantity: string }[]
  // 8 for half a day; then 8 for 6 hours, 6 for 6, and -8.5 for 12.
  expect(windows.map(({ quantity }) => quantity)).toEqual(['4', '-0.75'])
  expect(usage.body.total).toEqual({ quantity: '1.625', events: 3 })
  const limited = await tenant.call('PUT', '/quota/s/level', { limit: '5', window: 'month' })
  expect([limited.status, limited.body.code]).toEqual([400, 'invalid_request'])
})

/** Whole micro-units of a decimal text, the rest cut off. */
function micro(decimal: string): bigint {
  const [whole = '0', fraction = ''] = decimal.split('.')
  return BigInt(whole + fraction.slice(0, 6).padEnd(6, '0'))
}
