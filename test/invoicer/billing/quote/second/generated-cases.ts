import fc from 'fast-check'
import { AGGREGATIONS } from '../../../../../schemas/meter/aggregation.ts'
import { INTERVALS } from '../../../../../schemas/time/period.ts'
import { ODD_ZONES } from '../../../../support/odd-zones.ts'
import { slowAggregate, slowIntegral } from './aggregate.ts'
import { secondBoundary } from './periods.ts'
import { slowQuote } from './price.ts'
import { PRICES, priceCases } from './price-cases.ts'
import { secondUnusedMinor } from './proration.ts'

/** A case as it is quoted, and the members of its answer that the second implementation says. */
export type GeneratedCase = { case: { kind: string }; expect: Record<string, unknown> }

const MINUTE_MS = 60_000
const DAY_MS = 24 * 60 * MINUTE_MS
const PLACES: Record<string, number> = { JPY: 0, USD: 2, KWD: 3, CLF: 4 }
const iso = (ms: number) => new Date(ms).toISOString()
/** Of any zone that the second implementations know, from 2004 on. */
const instant = fc.integer({ min: Date.UTC(2004, 0, 1), max: Date.UTC(2035, 0, 1) })
const zone = fc.constantFrom(...ODD_ZONES)

/** A whole number of the last place as text: 1234 with 2 places is 12.34. */
function text(units: bigint, places: number): string {
  const digits = (units < 0n ? -units : units).toString().padStart(places + 1, '0')
  const whole = places === 0 ? digits : `${digits.slice(0, -places)}.${digits.slice(-places)}`
  return units < 0n ? `-${whole}` : whole
}

const prices = fc.oneof(...Object.values(PRICES).map(priceCases)).map((given): GeneratedCase => {
  const { dueMinor } = slowQuote(given)
  return { case: given, expect: { amount: text(dueMinor, PLACES[given.currency]!) } }
})

const prorations = fc
  .record({
    startMs: instant,
    days: fc.integer({ min: 2, max: 400 }),
    place: fc.double({ min: 0, max: 1, noNaN: true }),
    from: fc.bigInt(0n, 10n ** 10n),
    to: fc.bigInt(0n, 10n ** 10n),
    unit: fc.constantFrom('second' as const, 'second' as const, 'second' as const, 'day' as const),
    timezone: zone,
  })
  .map(({ startMs, days: many, place, from, to, unit, timezone }): GeneratedCase => {
    // The second implementation looks at clocks every half hour of a period by days.
    const days = unit === 'day' ? (many % 31) + 2 : many
    const endMs = startMs + days * DAY_MS
    const atMs = startMs + Math.floor(place * days * DAY_MS)
    const unused = (thousandths: bigint) =>
      secondUnusedMinor({ unit, zone: timezone, startMs, endMs, atMs, thousandths })
    const [credit, charge] = [-unused(from), unused(to)]
    return {
      case: {
        ...{ kind: 'proration', basis: unit, timezone, currency: 'USD', from: text(from, 5), to: text(to, 5) },
        ...{ period: { start: iso(startMs), end: iso(endMs) }, at: iso(atMs) },
      } as { kind: string },
      expect: { credit: text(credit, 2), charge: text(charge, 2), net: text(credit + charge, 2) },
    }
  })

const periods = fc
  .record({
    anchorMs: instant,
    interval: fc.constantFrom(...INTERVALS),
    every: fc.integer({ min: 1, max: 12 }),
    count: fc.integer({ min: 0, max: 4 }),
    timezone: zone,
  })
  .map(({ anchorMs, ...rest }): GeneratedCase => {
    const { interval, every, timezone, count } = rest
    const boundaries = Array.from({ length: count + 1 }, (_, n) =>
      iso(secondBoundary(anchorMs, interval, every, timezone, n)).replace('.000Z', 'Z'),
    )
    return { case: { kind: 'periods', anchor: iso(anchorMs), ...rest } as { kind: string }, expect: { boundaries } }
  })

const MINUTES = 120
const reading = fc.record({
  minute: fc.integer({ min: -50, max: MINUTES + 50 }),
  thousandths: fc.oneof(fc.bigInt(-5000n, 5000n), fc.bigInt(-(10n ** 15n), 10n ** 15n)),
})
const aggregates = fc
  .record({
    aggregation: fc.constantFrom(...AGGREGATIONS),
    readings: fc.array(reading, { maxLength: 8 }),
    startMs: instant.map((ms) => Math.floor(ms / MINUTE_MS) * MINUTE_MS),
    percent: fc.bigInt(1n, 100n),
    initial: fc.bigInt(-(10n ** 6n), 10n ** 6n),
  })
  .map(({ aggregation, readings, startMs, percent, initial }): GeneratedCase => {
    const at = (minute: number) => iso(startMs + minute * MINUTE_MS)
    const isLevel = aggregation === 'time_weighted_sum'
    const counted = readings.filter(({ minute }) => minute >= 0 && minute < MINUTES)
    return {
      case: {
        ...{ kind: 'aggregate', aggregation, period: { start: at(0), end: at(MINUTES) } },
        ...(aggregation === 'percentile' ? { percentile: String(percent) } : {}),
        ...(isLevel ? { initial: text(initial, 3) } : {}),
        events: readings.map(({ minute, thousandths }) => ({ time: at(minute), value: text(thousandths, 3) })),
      } as { kind: string },
      expect: {
        quantity: isLevel ? slowIntegral(readings, initial, MINUTES) : slowAggregate(aggregation, counted, percent),
      },
    }
  })

const CASES = fc.oneof(
  { weight: 7, arbitrary: prices },
  { weight: 1, arbitrary: prorations },
  { weight: 1, arbitrary: periods },
  { weight: 1, arbitrary: aggregates },
)
const AT_ONCE = 1_000

/** So many cases; the same ones for the same seed, and with a larger count the same ones first, by the thousand. */
export function* generatedCases(seed: number, count: number): Generator<GeneratedCase, void, undefined> {
  for (let from = 0; from < count; from += AT_ONCE) {
    yield* fc.sample(CASES, { seed: (seed + from) | 0, numRuns: Math.min(AT_ONCE, count - from) })
  }
}
