import { AGGREGATIONS, type Aggregation, METER_WINDOWS, WINDOWED } from '../../../schemas/meter/aggregation.ts'
import { formatQuantity, ZERO } from '../../../schemas/quantity.ts'
import { type Aggregate, type AggregatedEvent, aggregate } from './aggregate.ts'
import { badCase } from './bad-case.ts'
import { eventsAt } from './case-events.ts'
import { decimalAt, type Members, memberOf, membersAt } from './case-shape.ts'
import { oneOfAt, periodAt, zoneAt } from './case-values.ts'

const FIELDS = ['kind', 'aggregation', 'events', 'initial', 'period', 'percentile', 'window', 'timezone']
/** What others call an aggregation. */
const ALIASES: ReadonlyMap<unknown, Aggregation> = new Map([
  ...(['unique', 'count_unique', 'count_distinct'] as const).map((name) => [name, 'unique_count'] as const),
  ...(['avg', 'mean'] as const).map((name) => [name, 'average'] as const),
  ['last', 'latest'],
  ['weighted_sum', 'time_weighted_sum'],
])

/**
 * What events come to under an aggregation of meters: {@link aggregate}. Those outside of `period` do not count; without
 * one all do. Either all events have a time or none has: then they are in the order given, and all in the period.
 */
export function quoteAggregate(input: unknown): object {
  const members = membersAt(input, '', FIELDS)
  const aggregation = ALIASES.get(members.aggregation) ?? oneOfAt(members.aggregation, 'aggregation', AGGREGATIONS)
  const period = members.period === undefined ? undefined : periodAt(members.period, 'period')
  const initial = members.initial === undefined ? ZERO : decimalAt(members.initial, 'initial')
  const percentile = members.percentile === undefined ? undefined : decimalAt(members.percentile, 'percentile')
  const window = members.window === undefined ? undefined : oneOfAt(members.window, 'window', METER_WINDOWS)
  const zone = zoneAt(members.timezone, 'timezone')
  const asked: Aggregate = { aggregation, period, initial, percentile, window }
  checkAsked(asked)
  if (window !== undefined && zone !== 'UTC') throw badCase('timezone', 'Windows are hours and days of UTC.')
  const timesNeeded = aggregation === 'time_weighted_sum' || window !== undefined
  const read = ({ value }: Members, field: string) => valueAt(value, memberOf(field, 'value'), aggregation)
  const events = eventsAt(members.events, ['value', 'properties'], read, timesNeeded)
  return { quantity: formatQuantity(aggregate(asked, events)) }
}

/** Events are counted whatever their value; things are told apart by their text; all else needs a decimal. */
function valueAt(value: unknown, field: string, aggregation: Aggregation): Omit<AggregatedEvent, 'timeMs'> {
  if (aggregation === 'count') return { text: undefined, value: undefined }
  if (aggregation !== 'unique_count') return { text: undefined, value: decimalAt(value, field) }
  if (value === undefined) return { text: undefined, value: undefined }
  if (typeof value === 'string' || typeof value === 'boolean') return { text: String(value), value: undefined }
  return { text: formatQuantity(decimalAt(value, field)), value: undefined }
}

function checkAsked({ aggregation, period, initial, percentile, window }: Aggregate): void {
  const weighted = aggregation === 'time_weighted_sum'
  if (weighted && period === undefined) throw badCase('period', 'This is missing. A level lasts until a period ends.')
  if (!weighted && !initial.isZero())
    throw badCase('initial', 'Only a time_weighted_sum has a level before its events.')
  if ((aggregation === 'percentile') !== (percentile !== undefined)) {
    throw badCase('percentile', 'A percentile, and no other aggregation, says which: send one above 0, at most 100.')
  }
  if (percentile !== undefined && !(percentile.greaterThan(0) && percentile.lessThanOrEqualTo(100))) {
    throw badCase('percentile', 'Send one above 0, at most 100.')
  }
  if (window !== undefined && !WINDOWED.includes(aggregation)) {
    throw badCase('window', `Only ${WINDOWED.join(' and ')} may have a window.`)
  }
}
