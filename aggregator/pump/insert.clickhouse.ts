import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { encodeLogRows, type LogRow } from '../../schemas/event/usage-batch.avro.ts'

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

const insertChanges = (source: string) => `
  INSERT INTO shard_changes
  SELECT
    toUInt32(event.tenant), toUInt64(event.shard), {log:String}, partition,
    toStartOfHour(fromUnixTimestamp64Milli(known_at, 'UTC')), max(offset) + 1
  FROM (SELECT known_at, partition, offset, tupleElement(batch, 'events') AS events FROM ${source})
  ARRAY JOIN events AS event
  GROUP BY ALL`

/** One range a partition: the rows of a file are dense in each, as the log is. */
const insertRanges = (source: string) => `
  INSERT INTO ingest_ranges
  SELECT {log:String}, partition, min(offset), max(offset) + 1, sum(tupleElement(batch, 'count')), 0,
    fromUnixTimestamp64Milli(max(known_at), 'UTC')
  FROM ${source}
  GROUP BY partition`

/**
 * Stores log records: events, then the marks of the shards they changed, then the ranges that are our progress.
 * A crash after the events: they are stored again and collapse. After the marks: the same. After the ranges: done.
 */
export async function insertRecords(store: ClickHouseStore, log: string, rows: readonly LogRow[]): Promise<void> {
  await store.insertAvro(encodeLogRows(rows), [insertEvents, insertChanges, insertRanges], { log })
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

/** The contiguous end of the stored ranges of each partition: where reading goes on. */
export async function storedEnds(store: ClickHouseStore, log: string, partitions: number): Promise<number[]> {
  const rows = await store.query<{ partition: number; end_text: string }>(
    'SELECT partition, toString(end) AS end_text FROM stored_ends(log = {log:String})',
    { log },
  )
  const ends = new Map(rows.map((row) => [row.partition, Number(row.end_text)]))
  return Array.from({ length: partitions }, (_, partition) => ends.get(partition) ?? 0)
}
