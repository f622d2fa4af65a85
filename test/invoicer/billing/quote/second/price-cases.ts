import fc from 'fast-check'
import type { PriceCase } from './price.ts'

/** A decimal that is not negative, with so many digits before and after the point; often round, often 0. */
function decimalText(wholeDigits: number, places: number): fc.Arbitrary<string> {
  return fc
    .tuple(fc.bigInt(0n, 10n ** BigInt(wholeDigits) - 1n), fc.integer({ min: 0, max: places }), fc.nat())
    .map(([whole, some, fraction]) =>
      some === 0 ? `${whole}` : `${whole}.${String(fraction).padStart(some, '0').slice(-some)}`,
    )
}

const small = fc.nat(40).map(String)
const amount = fc.oneof(small, decimalText(2, 3), decimalText(9, 12))
const units = fc.oneof(fc.constant('0'), small, small, decimalText(2, 2), decimalText(6, 12))
const percentText = fc.oneof(fc.nat(100).map(String), decimalText(2, 6))
/** As text, or as the JSON number that means the same. */
const wire = (text: fc.Arbitrary<string>) =>
  fc.tuple(text, fc.boolean()).map(([value, isNumber]) => (isNumber && value.length < 15 ? Number(value) : value))
const signed = (text: fc.Arbitrary<string>) =>
  fc.tuple(text, fc.nat(9)).map(([value, luck]) => (luck === 0 && /[1-9]/.test(value) ? `-${value}` : value))

/** Of all models but flat ones. The factor is 1 where it is left out. */
const commitment = { commitment_amount: wire(amount), overage_factor: wire(decimalText(1, 3)) }
const modifiers = {
  included_units: wire(units),
  minimum_amount: wire(amount),
  maximum_amount: wire(amount),
  discount_percent: wire(percentText),
}
const modifierNames = [...Object.keys(modifiers), ...Object.keys(commitment)]

function priceOf(model: string, members: Record<string, fc.Arbitrary<unknown>>, optional: string[] = []) {
  const all = { model: fc.constant(model), ...members, ...modifiers, ...(model === 'flat' ? {} : commitment) }
  const required = Object.keys(all).filter((name) => ![...optional, ...modifierNames].includes(name))
  const price = fc.record(all, { requiredKeys: required as never[] }) as fc.Arbitrary<PriceCase['price']>
  // A factor alone says nothing, and is refused.
  return price.map(({ overage_factor: factor, ...rest }) =>
    factor === undefined || rest.commitment_amount === undefined ? rest : { ...rest, overage_factor: factor },
  )
}

function tiersWith(member: string, value: fc.Arbitrary<unknown>) {
  const bounds = fc.uniqueArray(fc.integer({ min: 1, max: 120 }), { maxLength: 4 })
  return bounds.chain((halves) => {
    const ascending = [...halves].sort((a, b) => a - b).map((half) => String(half / 2))
    const tier = (up_to: string | null) =>
      fc.record(
        { up_to: fc.constant(up_to), [member]: value, flat_amount: wire(amount) },
        { requiredKeys: ['up_to', member] as never[] },
      )
    return fc.tuple(...[...ascending, null].map(tier))
  })
}

const region = fc.constantFrom('eu', 'us', '1')
const size = fc.constantFrom<string | number | boolean>('s', '1', 1, true, 'true')
const properties = fc.record({ region, size, extra: fc.constantFrom(null, [], {}) }, { requiredKeys: [] })
const cell = fc.record({ when: fc.record({ region, size }, { requiredKeys: [] }), unit_amount: wire(amount) })

/** `min_per_event` at most `max_per_event`, where both are there. */
const percentage = priceOf(
  'percentage',
  {
    rate: wire(percentText),
    fixed_amount: wire(amount),
    free_units: wire(units),
    free_events: fc.oneof(fc.nat(4), fc.nat(4).map(String)),
    min_per_event: wire(small),
    max_per_event: wire(small),
  },
  ['fixed_amount', 'free_units', 'free_events', 'min_per_event', 'max_per_event'],
).map((price) => {
  const [least, most] = [price.min_per_event, price.max_per_event]
  if (least === undefined || most === undefined || Number(least) <= Number(most)) return price
  return { ...price, min_per_event: most, max_per_event: least }
})

/** A price of every model, by its name. */
export const PRICES: Record<string, fc.Arbitrary<PriceCase['price']>> = {
  flat: priceOf('flat', { amount: wire(amount) }),
  per_unit: priceOf('per_unit', { unit_amount: wire(amount) }),
  graduated: priceOf('graduated', { tiers: tiersWith('unit_amount', wire(amount)) }),
  volume: priceOf('volume', { tiers: tiersWith('unit_amount', wire(amount)) }),
  package: priceOf(
    'package',
    {
      amount: wire(amount),
      package_size: fc.oneof(
        fc.integer({ min: 1, max: 20 }),
        decimalText(1, 3).filter((text) => Number(text) > 0),
      ),
      round: fc.constantFrom('up', 'down'),
    },
    ['round'],
  ),
  percentage,
  graduated_percentage: priceOf('graduated_percentage', { tiers: tiersWith('rate', wire(percentText)) }),
  dynamic: priceOf('dynamic', { multiplier: wire(amount) }),
  matrix: priceOf('matrix', {
    dimensions: fc.constant(['region', 'size']),
    cells: fc.array(cell, { maxLength: 4 }),
    default_unit_amount: wire(amount),
  }),
}

/** Few instants, so that several events have the same; also written with an offset. */
const time = fc.constantFrom(
  '2024-03-01T00:00:00Z',
  '2024-03-01T00:00:00.000Z',
  '2024-03-01T01:00:00+02:00',
  '2024-03-01T00:00Z',
  '2024-02-29T23:59:59.999Z',
  '2024-03-02T00:00:00Z',
)
const events = fc
  .tuple(
    fc.array(fc.record({ value: wire(signed(units)), time, properties }, { requiredKeys: ['value', 'time'] }), {
      maxLength: 7,
    }),
    fc.boolean(),
  )
  .map(([timed, isTimed]) => (isTimed ? timed : timed.map(({ time: _time, ...event }) => event)))

const used = fc.oneof(fc.record({ quantity: wire(signed(units)) }), fc.record({ events })) as fc.Arbitrary<
  Pick<PriceCase, 'quantity' | 'events'>
>

const rest = fc.record(
  {
    already_billed: fc.record({ quantity: wire(units), amount: fc.integer({ min: -99, max: 999 }) }),
    final: fc.boolean(),
  },
  { requiredKeys: [] },
)

/** Cases that are right, of one model. */
export function priceCases(price: fc.Arbitrary<PriceCase['price']>): fc.Arbitrary<PriceCase & { kind: 'price' }> {
  return fc
    .tuple(fc.constantFrom('USD', 'JPY', 'KWD', 'CLF'), price, used, rest)
    .map(([currency, anyPrice, anyUse, more]) => ({
      kind: 'price',
      currency,
      price: anyPrice,
      ...anyUse,
      ...(more as Pick<PriceCase, 'already_billed' | 'final'>),
    }))
}
