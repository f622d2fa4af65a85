/** What decides how the rows of a meter come to one quantity; '' or undefined: none. */
export type Aggregated = { aggregation: string; window?: string | undefined; percentile?: string | undefined }
/** SQL of the two ends of the time that is asked for, in ms; they may be columns that the rows are grouped by. */
export type Span = { startMs: string; endMs: string }

/** Whether the quantity of several groups of rows is the sum of theirs. */
export function isAdditive({ aggregation }: Aggregated): boolean {
  return aggregation === 'sum' || aggregation === 'count'
}

/** Whether what was before the time that is asked for counts in it: then all rows before its end are to be read. */
export function readsFromBefore({ aggregation }: Aggregated): boolean {
  return aggregation === 'time_weighted_sum'
}

/**
 * The quantity that rows of `exact_usage` come to, as an SQL expression over a group of them; a group without rows is
 * 0. Exact: quotients are cut to 12 places half away from zero, which the 13th place decides.
 */
export function quantityOf({ aggregation, window, percentile }: Aggregated, span: Span): string {
  switch (aggregation) {
    case 'min':
      return 'min(quantity)'
    case 'max':
      return window === 'hour' || window === 'day' ? sumOfMaxima(window) : 'max(quantity)'
    case 'average':
      return 'round(divideDecimal(sum(quantity), toDecimal256(greatest(sum(events), 1), 0), 13), 12)'
    case 'unique_count':
      return 'toDecimal256(uniqExactIf(item, quantity > 0), 12)'
    case 'latest':
      return 'argMax(quantity, last_key)'
    case 'percentile':
      return nearestRank(percentile || '50')
    case 'time_weighted_sum':
      return timeWeighted(span)
    default:
      return 'sum(quantity)'
  }
}

/** Hours and days of UTC. */
function sumOfMaxima(window: 'hour' | 'day'): string {
  const start = window === 'hour' ? 'toStartOfHour' : 'toStartOfDay'
  return `arraySum(mapValues(maxMap(map(${start}(bucket), quantity))))`
}

/** The smallest value that at least so many percent of the events do not exceed. Rows hold a value and how often. */
function nearestRank(percentile: string): string {
  if (!/^\d{1,3}(\.\d{1,12})?$/.test(percentile)) throw new Error(`${percentile} is no percentile`)
  const [whole = '', places = ''] = percentile.split('.')
  const [share, outOf] = [BigInt(whole + places), 100n * 10n ** BigInt(places.length)]
  const rank = `greatest(intDiv(toUInt256(sum(events)) * ${share} + ${outOf - 1n}, ${outOf}), 1)`
  return `arrayMap(
      (sorted, rank) -> sorted[arrayFirstIndex(reached -> reached >= rank, arrayCumSum(sorted.2))].1,
      [arraySort(groupArray((quantity, events)))], [${rank}])[1]`
}

/**
 * Σ level × the time it lasted ÷ the whole time. Each subject and group is a series with a level of its own, and they
 * add up. A level lasts until the next one; the later known of two at one instant stands, since the earlier lasts no
 * time. Of the changes before the time that is asked for only each series' last is kept: a change lies before many
 * windows, and keeping it in each of them would take memory for changes × windows.
 */
function timeWeighted({ startMs, endMs }: Span): string {
  // Exact where a hash would nearly be; a map's key is no tuple.
  const series = 'toJSONString(tuple(subject, group_values))'
  const at = 'toInt64OrZero(item)'
  const before = `maxMapIf(map(${series}, tuple(${at}, last_key, quantity)), ${at} < toInt64(${startMs}))`
  const since = `groupArrayIf(tuple(${series}, ${at}, last_key, quantity), ${at} >= toInt64(${startMs}))`
  const last = `tuple('', toInt64(${endMs}), toUInt256(0), toDecimal256(0, 12))`
  return `round(divideDecimal(
      arrayMap(
        sorted -> arraySum(arrayMap(
          (level, next) -> level.4 * toDecimal256(greatest(0,
            least(if(next.1 = level.1, next.2, toInt64(${endMs})), toInt64(${endMs}))
            - greatest(level.2, toInt64(${startMs}))), 0),
          sorted,
          arrayPushBack(arrayPopFront(sorted), ${last}))),
        [arraySort(arrayConcat(
          arrayMap(
            (series, level) -> tuple(series, level.1, level.2, level.3), mapKeys(${before}), mapValues(${before})),
          ${since}))])[1],
      toDecimal256(toInt64(${endMs}) - toInt64(${startMs}), 0), 13), 12)`
}
