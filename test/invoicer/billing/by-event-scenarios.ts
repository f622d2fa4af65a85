import fc from 'fast-check'
import { checkPrice } from '../../../invoicer/billing/rating/check-price.ts'
import type { Price } from '../../../invoicer/billing/rating/price.ts'

/** Events become known in so many waves. */
export const WAVES = 4

export type Payload = { minute: number; value: string; region: unknown; own: boolean }
type Sent = Payload & { wave: number; then: { at: number; replacement: Payload | null } | null }

const payload = fc.record<Payload>({
  minute: fc.integer({ min: -1, max: 61 }),
  value: fc.constantFrom('0', '0.5', '1', '2.25', '3', '10', '100.000000000001'),
  region: fc.constantFrom<unknown>(undefined, 'eu', 'us', 'e"u\\ü', 7, 1.5, true, null, ['eu'], { eu: 1 }),
  own: fc.boolean(),
})
const sent = fc
  .record({
    first: payload,
    wave: fc.nat(WAVES - 1),
    corrected: fc.option(fc.record({ later: fc.nat(2), replacement: fc.option(payload) }), { freq: 2 }),
  })
  .map(({ first, wave, corrected }): Sent => {
    const then = corrected && { at: Math.min(WAVES - 1, wave + corrected.later), replacement: corrected.replacement }
    return { ...first, wave, then }
  })
const some = (...texts: string[]) => fc.option(fc.constantFrom('0', ...texts), { nil: undefined })
const bounds = { included_units: some('2', '12.5'), discount_percent: some('10'), maximum_amount: some('9') }
const given = <T extends object>(price: T): T =>
  Object.fromEntries(Object.entries(price).filter(([, value]) => value !== undefined)) as T
const price: fc.Arbitrary<Price> = fc
  .oneof(
    fc.record({
      ...{ model: fc.constant('matrix' as const), dimensions: fc.constant(['place.region']), ...bounds },
      cells: fc.subarray([
        { when: { 'place.region': 'eu' }, unit_amount: '0.3' },
        { when: { 'place.region': 7 }, unit_amount: '0.07' },
        { when: { 'place.region': true }, unit_amount: '1' },
        { when: { 'place.region': 'e"u\\ü' }, unit_amount: '0.011' },
      ]),
      default_unit_amount: fc.constant('0.1'),
    }),
    fc.record({
      ...{ model: fc.constant('percentage' as const), rate: fc.constantFrom('0', '1.3', '10'), ...bounds },
      ...{ fixed_amount: some('0.2'), free_units: some('3', '20'), free_events: some('1', '2') },
      ...{ min_per_event: some('0.25'), max_per_event: some('0.3', '2') },
    }),
  )
  .map((one) => given(one) as Price)
  .filter((one) => checkPrice(one).length === 0)
/** Events that are late, voided or replaced, a price, and up to which wave they are known. */
export const scenario = fc.record({
  events: fc.array(sent, { maxLength: 9 }),
  price,
  knownWaves: fc.integer({ min: 1, max: WAVES }),
})
export type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never
