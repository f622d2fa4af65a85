import { dataError } from '../../schemas/clickhouse/store.ts'
import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'

/** How far into a partition of the log the events of a shard reach, of those known in one hour. */
export type Mark = { tenant: number; shard: number; partition: number; hourMs: number; nextOffset: number }
/** What is dealt with of a partition. */
export type Range = {
  partition: number
  firstOffset: number
  nextOffset: number
  events: number
  knownAtMs: number
}

const HOUR_MS = 3_600_000

/**
 * Which shards log records change, and how far they reach in each partition. Walks over the bytes of a batch and takes
 * tenant and shard of each event, nothing else, and makes no object of any: so ClickHouse gets the file once, not once
 * for the events, once for the marks and once for the ranges. A batch that is not exactly one UsageBatch is an error of
 * the data. It takes no memory, whatever the bytes say: a count or a length ends where the bytes do.
 */
export function progressOf(rows: readonly LogRow[]): { marks: Mark[]; ranges: Range[] } {
  const marks = createMarks()
  const ranges = new Map<number, Range>()
  for (const { knownAtMs, partition, offset, batch } of rows) {
    const nextOffset = offset + 1
    const mark = marks.of(partition, Math.floor(knownAtMs / HOUR_MS) * HOUR_MS)
    const events = walkBatch(batch, (tenant, shard) => mark(tenant, shard, nextOffset))
    const range = ranges.get(partition)
    if (range) {
      range.firstOffset = Math.min(range.firstOffset, offset)
      range.nextOffset = Math.max(range.nextOffset, nextOffset)
      range.knownAtMs = Math.max(range.knownAtMs, knownAtMs)
      range.events += events
    } else ranges.set(partition, { partition, firstOffset: offset, nextOffset, events, knownAtMs })
  }
  return { marks: marks.all, ranges: [...ranges.values()] }
}

type SetMark = (tenant: number, shard: number, nextOffset: number) => void

/** One mark for each shard, partition and hour: the furthest. */
function createMarks() {
  const all: Mark[] = []
  const groups = new Map<string, SetMark>()
  const create = (partition: number, hourMs: number): SetMark => {
    const tenants = new Map<number, Map<number, Mark>>()
    // Neighbours in the log mostly share their shard.
    let last: Mark | undefined
    return (tenant, shard, nextOffset) => {
      if (last?.shard !== shard || last.tenant !== tenant) {
        const shards = tenants.get(tenant) ?? new Map<number, Mark>()
        if (shards.size === 0) tenants.set(tenant, shards)
        last = shards.get(shard) ?? { tenant, shard, partition, hourMs, nextOffset: 0 }
        if (last.nextOffset === 0) {
          shards.set(shard, last)
          all.push(last)
        }
      }
      if (nextOffset > last.nextOffset) last.nextOffset = nextOffset
    }
  }
  const of = (partition: number, hourMs: number): SetMark => {
    const key = `${partition} ${hourMs}`
    const known = groups.get(key)
    if (known) return known
    const made = create(partition, hourMs)
    groups.set(key, made)
    return made
  }
  return { all, of }
}

/** Calls `found` for each event of a batch; returns how many there are. Fields as in usage-batch.avsc. */
function walkBatch(batch: Buffer, found: (tenant: number, shard: number) => void): number {
  let at = afterLong(batch, 0)
  const count = longBetween(batch, 0, at)
  let events = 0
  for (let block = -1; block !== 0; ) {
    const blockAt = at
    at = afterLong(batch, at)
    block = longBetween(batch, blockAt, at)
    // A negative count is followed by the block's length, of no use here.
    if (block < 0) at = afterLong(batch, at)
    for (let left = Math.abs(block); left > 0; left--) {
      const tenantAt = at
      const tenantEnd = afterLong(batch, at)
      const shardAt = afterText(batch, afterText(batch, tenantEnd))
      const shardEnd = afterLong(batch, shardAt)
      const timeAt = afterText(batch, afterText(batch, shardEnd))
      at = afterText(batch, afterLong(batch, timeAt) + 1)
      if (at > batch.length) throw unreadable('it ends too early')
      found(naturalBetween(batch, tenantAt, tenantEnd), naturalBetween(batch, shardAt, shardEnd))
      events++
    }
  }
  if (at !== batch.length) throw unreadable('it goes on after its end')
  if (count !== events) throw unreadable(`it holds ${events} events and says ${count}`)
  return events
}

/** Where a number ends that begins at a place: the last byte of one is below 128. Behind the end there are zeros. */
function afterLong(bytes: Buffer, at: number): number {
  let end = at
  while ((bytes[end] ?? 0) >= 0x80) end++
  return end + 1
}

/** Where a text ends: its length, then as many bytes. */
function afterText(bytes: Buffer, at: number): number {
  const first = bytes[at] ?? 0
  if (first < 0x80 && (first & 1) === 0) return at + 1 + (first >>> 1)
  const end = afterLong(bytes, at)
  return end + naturalBetween(bytes, at, end)
}

/** Avro's int and long: seven bits a byte, lowest first; the lowest bit is the sign. */
function longBetween(bytes: Buffer, at: number, end: number): number {
  let value = 0
  for (let place = end - 1; place >= at; place--) value = value * 128 + ((bytes[place] ?? 0) & 0x7f)
  if (value >= 2 * Number.MAX_SAFE_INTEGER) throw unreadable('a number in it is too large')
  // The remainder of a number this large is slow to take; the byte has the bit too.
  return ((bytes[at] ?? 0) & 1) === 0 ? value / 2 : -(value + 1) / 2
}

function naturalBetween(bytes: Buffer, at: number, end: number): number {
  const value = longBetween(bytes, at, end)
  if (value < 0) throw unreadable('a number in it is negative')
  return value
}

function unreadable(why: string): Error {
  return dataError(`The log record is no batch of events: ${why}`)
}
