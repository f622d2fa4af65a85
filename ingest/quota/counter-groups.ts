import { type CounterKey, counterId } from './quota-store.ts'

/** What is counted over which time; a subject makes it a counter. */
export type QuotaWindow = Omit<CounterKey, 'subject'>
/** Windows of one width that follow each other, from the start of the first to the end of the last: mostly one. */
export type Span = QuotaWindow & { widthMs: number }
/** By the start of their windows, then by subjects; absent: nothing. */
export type ByWindow<Counted> = ReadonlyMap<number, ReadonlyMap<string, Counted>>

/** So many buckets lie within one question at most: what a rolling limit looks back on lies in one or two. */
const MOST_BUCKETS = 32

/** Counters of one tenant, meter and window are counted together, and those of neighbouring buckets. */
export function groupOf(counter: CounterKey): string {
  const { startMs, endMs, rolling } = counter
  if (!rolling) return counterId({ ...counter, subject: '' })
  const spanMs = MOST_BUCKETS * (endMs - startMs)
  const fromMs = Math.floor(startMs / spanMs) * spanMs
  return counterId({ ...counter, subject: '', startMs: fromMs, endMs: fromMs + spanMs })
}

/** What to ask for to count all of a group. */
export function spanOf(group: readonly [CounterKey, ...CounterKey[]]): Span {
  const [{ tenant, meter, startMs, endMs }] = group
  let [fromMs, toMs] = [startMs, endMs]
  for (const one of group) {
    fromMs = Math.min(fromMs, one.startMs)
    toMs = Math.max(toMs, one.endMs)
  }
  return { tenant, meter, startMs: fromMs, endMs: toMs, widthMs: endMs - startMs }
}

/** Rows of ClickHouse as they are looked up. */
export function byWindow<Row extends { place: string; subject: string }, Counted>(
  { startMs, widthMs }: Span,
  rows: Iterable<Row>,
  read: (row: Row) => Counted,
): ByWindow<Counted> {
  const counted = new Map<number, Map<string, Counted>>()
  for (const row of rows) {
    const atMs = startMs + Number(row.place) * widthMs
    const ofWindow = counted.get(atMs) ?? new Map<string, Counted>()
    counted.set(atMs, ofWindow.set(row.subject, read(row)))
  }
  return counted
}

/** Which of the windows a row of usage lies in, as SQL; of rolling ones a minute lies in one, as their widths are whole ones. */
export const PLACE = `toString(intDiv(toInt64(toUnixTimestamp(bucket)) * 1000 - {usage_from_ms:Int64}, {width_ms:Int64}))`
