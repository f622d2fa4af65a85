import type { Aggregation, MeterWindow } from '../../../schemas/meter/aggregation.ts'
import { type Quantity, ZERO } from '../../../schemas/quantity.ts'

/** `value` of events that are added or compared, `text` of things told apart. */
export type AggregatedEvent = { timeMs: number | undefined; value: Quantity | undefined; text: string | undefined }
export type Aggregate = {
  aggregation: Aggregation
  /** Half-open; undefined: all times. */
  period: { startMs: number; endMs: number } | undefined
  /** What a time-weighted sum is divided by: the time of the period, unless it is a part of a longer one. */
  averagedOverMs?: number | undefined
  /** The level before the first event, of a time-weighted sum. */
  initial: Quantity
  percentile: Quantity | undefined
  /** Of UTC; the aggregates of hours or days are added. */
  window: MeterWindow | undefined
}

const PLACES = 12
const WINDOW_MS: Record<MeterWindow, number> = { hour: 3_600_000, day: 86_400_000 }

/**
 * What the events of a period, in the order of their times, come to; nothing is 0. Quotients are rounded to 12 places, half away from zero.
 *
 * Of a time-weighted sum each value is a change of the level: Σ level × time it lasted ÷ time of the period. Changes
 * before the period are carried in, on top of `initial`.
 */
export function aggregate(asked: Aggregate, events: readonly AggregatedEvent[]): Quantity {
  const { aggregation, period } = asked
  if (aggregation === 'time_weighted_sum') {
    return period === undefined ? ZERO : timeWeightedSum(events, asked, period)
  }
  const counted = events.filter(
    ({ timeMs }) => period === undefined || timeMs === undefined || (timeMs >= period.startMs && timeMs < period.endMs),
  )
  const values = counted.flatMap(({ value }) => value ?? [])
  switch (aggregation) {
    case 'count':
      return ZERO.plus(counted.length)
    case 'unique_count':
      return ZERO.plus(new Set(counted.flatMap(({ text }) => text ?? [])).size)
    case 'sum':
      return sumOf(values)
    case 'average':
      return values.length === 0 ? ZERO : sumOf(values).div(values.length).toDecimalPlaces(PLACES)
    case 'min':
      return ascending(values)[0] ?? ZERO
    case 'max':
      return asked.window === undefined ? (ascending(values).at(-1) ?? ZERO) : sumOfMaxima(counted, asked.window)
    case 'latest':
      return values.at(-1) ?? ZERO
    case 'percentile':
      return nearestRank(ascending(values), asked.percentile ?? ZERO)
  }
}

function timeWeightedSum(
  events: readonly AggregatedEvent[],
  { initial, averagedOverMs }: Aggregate,
  { startMs, endMs }: { startMs: number; endMs: number },
): Quantity {
  let level = initial
  let sinceMs = startMs
  let weighted = ZERO
  for (const { timeMs = startMs, value = ZERO } of events) {
    if (timeMs >= endMs) break
    const atMs = Math.max(timeMs, startMs)
    weighted = weighted.plus(level.times(atMs - sinceMs))
    level = level.plus(value)
    sinceMs = atMs
  }
  return weighted
    .plus(level.times(endMs - sinceMs))
    .div(averagedOverMs ?? endMs - startMs)
    .toDecimalPlaces(PLACES)
}

/** The smallest value that at least so many percent of the values do not exceed. */
function nearestRank(sorted: readonly Quantity[], percentile: Quantity): Quantity {
  const rank = percentile.times(sorted.length).div(100).ceil().toNumber()
  return sorted[rank - 1] ?? ZERO
}

function sumOfMaxima(events: readonly AggregatedEvent[], window: MeterWindow): Quantity {
  const maxima = new Map<number, Quantity>()
  for (const { timeMs = 0, value = ZERO } of events) {
    const start = Math.floor(timeMs / WINDOW_MS[window])
    const largest = maxima.get(start)
    if (largest === undefined || value.greaterThan(largest)) maxima.set(start, value)
  }
  return sumOf([...maxima.values()])
}

function sumOf(values: readonly Quantity[]): Quantity {
  return values.reduce((sum, value) => sum.plus(value), ZERO)
}

function ascending(values: readonly Quantity[]): Quantity[] {
  return [...values].sort((a, b) => a.comparedTo(b))
}
