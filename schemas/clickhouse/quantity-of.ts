/** What decides how the rows of a meter come to one quantity; '' or undefined: none. */
export type Aggregated = { aggregation: string; window?: string | undefined; percentile?: string | undefined }
/**
 * SQL of the two ends of the time that is asked for, in ms; they may be columns that the rows are grouped by. A level is
 * averaged over `overMs`, by default that time: what asks for a part of a period gives the period's.
 */
export type Span = { startMs: string; endMs: string; overMs?: string }

/** Whether the quantity of several groups of rows is the sum of theirs. */
export function isAdditive({ aggregation }: Aggregated): boolean {
  return aggregation === 'sum' || aggregation === 'count'
}

/** Whether the quantity of times apart is the sum of theirs, a level averaged over the same time in each. */
export function addsUpInTime({ aggregation }: Aggregated): boolean {
  return isAdditive({ aggregation }) || aggregation === 'time_weighted_sum'
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
 * Σ level × the time it lasted ÷ the time it is averaged over. A row is a change of the level, which counts from its
 * instant on, or from the start if it lies before, to the end: so each adds up by itself, in any order, over subjects and
 * groups.
 */
function timeWeighted({ startMs, endMs, overMs = `toInt64(${endMs}) - toInt64(${startMs})` }: Span): string {
  const lastsMs = `toInt64(${endMs}) - greatest(toInt64OrZero(item), toInt64(${startMs}))`
  return `round(divideDecimal(
      sum(quantity * toDecimal256(greatest(${lastsMs}, 0), 0)),
      toDecimal256(${overMs}, 0), 13), 12)`
}
