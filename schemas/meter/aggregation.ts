/** What a meter makes of the values of its events. */
export const AGGREGATIONS = [
  'count',
  'sum',
  'min',
  'max',
  'average',
  'unique_count',
  'latest',
  'time_weighted_sum',
  'percentile',
] as const
export type Aggregation = (typeof AGGREGATIONS)[number]

/** With a window the aggregation is taken per hour or day (UTC), and the results are added. */
export const METER_WINDOWS = ['hour', 'day'] as const
export type MeterWindow = (typeof METER_WINDOWS)[number]
/** Aggregations that may have a window. */
export const WINDOWED: readonly Aggregation[] = ['sum', 'max']
/** Aggregations to which each event adds its quantity as it comes: those that a quota can limit. */
export const ADDED_UP: readonly Aggregation[] = ['count', 'sum']
/** Aggregations whose values may be negative: changes of a level, which also falls. */
export const SIGNED: readonly Aggregation[] = ['time_weighted_sum']
