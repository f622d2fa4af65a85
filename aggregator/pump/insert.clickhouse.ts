import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { encodeLogRows, type LogRow } from '../../schemas/event/usage-batch.avro.ts'
import { type Mark, progressOf, type Range } from './progress.ts'

/** Events are unfolded by ClickHouse from the record's own bytes; JavaScript never decodes them. */
const insertEvents = (source: string) => `
  INSERT INTO events
  SELECT
    toUInt32(event.tenant), toUInt64(event.shard), event.source, event.id,
    reinterpretAsUInt128(sipHash128Reference(
      event.type, event.subject, event.data,
      if(event.time_given, toUnixTimestamp64Milli(event.time), toInt64(-1)))),
    event.type, event.subject, event.time, event.time_given, event.data,
    fromUnixTimestamp64Milli(known_at, 'UTC'),
    bitNot(
      bitShiftLeft(toUInt128(known_at), 84) + bitShiftLeft(toUInt128(partition), 64)
      + bitShiftLeft(toUInt128(offset), 20) + toUInt128(index))
  FROM (SELECT known_at, partition, offset, tupleElement(batch, 'events') AS events FROM ${source})
  ARRAY JOIN events AS event, arrayEnumerate(events) AS index`

const insertMarks = (log: string, marks: readonly Mark[]) =>
  insertRows(
    'shard_changes (log, tenant, shard, partition, known_hour, next_offset)',
    marks.map((one) => [log, one.tenant, one.shard, one.partition, utc(one.hourMs, 0), one.nextOffset]),
  )

const insertRanges = (log: string, ranges: readonly Range[]) =>
  insertRows(
    'ingest_ranges (log, partition, first_offset, next_offset, events, dead, known_at)',
    ranges.map((one) => [log, one.partition, one.firstOffset, one.nextOffset, one.events, 0, utc(one.knownAtMs, 3)]),
  )

/** Any number of rows: what stands behind VALUES does not count as a statement's text. Not async: that may not wait. */
function insertRows(into: string, rows: readonly (readonly (string | number)[])[]): string {
  return `INSERT INTO ${into} SETTINGS async_insert = 0 VALUES ${rows.map((row) => `(${row.join()})`).join()}`
}

/**
 * Stores log records, dense in each partition. Order of effects: (1) events, (2) marks of the shards they changed,
 * (3) ranges, which are our progress. After a crash between them the same records come again: events collapse, marks
 * and ranges say the same. Only (1) takes the file; marks and ranges are a few rows that we make ourselves, and no
 * statement depends on what another one left on some server. Answers the tenants whose events they were.
 */
export async function insertRecords(
  store: ClickHouseStore,
  log: string,
  rows: readonly LogRow[],
): Promise<ReadonlySet<number>> {
  if (rows.length === 0) return new Set()
  const { marks, ranges } = progressOf(rows)
  const name = quoted(log)
  const file = encodeLogRows(rows, takeRoom)
  await store.insertAvro(file, [
    insertEvents,
    ...(marks.length > 0 ? [() => insertMarks(name, marks)] : []),
    () => insertRanges(name, ranges),
  ])
  // Not after an error: a request that was given up may still be reading it.
  spare = Buffer.from(file.buffer)
  return new Set(marks.map(({ tenant }) => tenant))
}

/** The memory of the last file, some megabytes, for the next one: getting it anew costs as much as filling it. */
let spare: Buffer | undefined

function takeRoom(bytes: number): Buffer {
  const room = spare
  spare = undefined
  return room && room.length >= bytes ? room : Buffer.allocUnsafeSlow(bytes)
}

/** A time as ClickHouse writes it, with this many digits of a second. */
function utc(ms: number, digits: 0 | 3): string {
  const [date = '', time = ''] = new Date(ms).toISOString().split('T')
  return `'${date} ${time.slice(0, digits === 0 ? 8 : 12)}'`
}

function quoted(text: string): string {
  return `'${text.replace(/[\\']/g, '\\$&')}'`
}

/** Keeps a record that cannot be read, whole, then counts it as dealt with. */
export async function insertDeadLetter(
  store: ClickHouseStore,
  log: string,
  row: LogRow,
  reason: string,
): Promise<void> {
  const place = { log, partition: row.partition, offset: row.offset, known_at: row.knownAtMs }
  await store.command(
    `INSERT INTO dead_letters SELECT 0, {log:String}, {partition:UInt32}, {offset:UInt64},
       fromUnixTimestamp64Milli({known_at:Int64}, 'UTC'), {reason:String}, {bytes:String}`,
    { ...place, reason, bytes: row.batch.toString('base64') },
  )
  await store.command(
    `INSERT INTO ingest_ranges SELECT {log:String}, {partition:UInt32}, {offset:UInt64}, {offset:UInt64} + 1, 0, 1,
       fromUnixTimestamp64Milli({known_at:Int64}, 'UTC')`,
    place,
  )
}
