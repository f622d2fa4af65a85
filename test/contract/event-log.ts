import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { EventLogReader } from '../../aggregator/pump/event-log.ts'
import type { EventLogWriter, LogAppend } from '../../ingest/append/event-log.ts'
import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'

/** An opened log. It has three partitions, all of which the reader reads. */
export type OpenLog = { writer: EventLogWriter; reader: EventLogReader; close(): Promise<void> }

/** A log's place; what was written is there when it is opened again. */
export type LogPlace = {
  open(): Promise<OpenLog>
  /** Appends one record to partition 0 in another process, which is killed as soon as the append has resolved. */
  appendAndBeKilled(text: string): Promise<void>
  remove(): Promise<void>
}

export const FROM_START = [0, 0, 0]
export const PLENTY = 1_000_000_000
const PATIENCE_MS = 60_000

/** What every adapter of the writer and the reader of the event log promises. */
export function describeEventLog(name: string, newPlace: () => Promise<LogPlace>): void {
  describe(`event log: ${name}`, () => {
    let place: LogPlace
    let log: OpenLog

    beforeEach(async () => {
      place = await newPlace()
      log = await place.open()
    })
    afterEach(async () => {
      await log.close()
      await place.remove()
    })

    describeAppends(() => log)
    describeReads(() => log)
    describeTimes(() => log)

    test('opened again it keeps what was appended and goes on with its offsets', async () => {
      const { logId } = log.writer
      await log.writer.append([record(0, 'a'), record(2, 'b')])
      await log.close()
      log = await place.open()
      expect([log.writer.logId, log.reader.logId]).toEqual([logId, logId])
      expect(await log.writer.ends()).toEqual([1, 0, 1])
      await log.writer.append([record(0, 'c'), record(1, 'd')])
      expect((await readRows(log.reader, 4)).map(placed)).toEqual(['0/0 a', '0/1 c', '1/0 d', '2/0 b'])
    })

    test('what was acknowledged is there after kill -9 (invariant 2)', async () => {
      await log.close()
      await place.appendAndBeKilled('acknowledged')
      log = await place.open()
      expect((await readRows(log.reader, 1)).map(placed)).toEqual(['0/0 acknowledged'])
      expect(await log.writer.ends()).toEqual([1, 0, 0])
    })
  })
}

function describeAppends(log: () => OpenLog): void {
  test('writer and reader name the same log with the same partitions', () => {
    expect(log().reader.logId).toBe(log().writer.logId)
    expect(log().writer.logId).not.toBe('')
    expect([log().writer.partitions, log().reader.partitions]).toEqual([3, 3])
    expect(log().reader.assignment().partitions).toEqual([0, 1, 2])
  })

  test('an empty log ends at 0 and has nothing to read', async () => {
    expect(await log().writer.ends()).toEqual([0, 0, 0])
    expect(await log().reader.ends()).toEqual([0, 0, 0])
    expect(await log().reader.read(FROM_START, PLENTY)).toEqual([])
  })

  test('what was appended is read, byte for byte', async () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 5_000 }).map((some) => Buffer.from(some))
    let offset = 0
    await fc.assert(
      fc.asyncProperty(bytes, async (some) => {
        await log().writer.append([{ partition: 1, record: some }])
        const [row] = await readRows(log().reader, 1, [0, offset, 0])
        expect(row).toMatchObject({ partition: 1, offset })
        expect(row?.batch.equals(some)).toBe(true)
        offset++
      }),
      { numRuns: 20 },
    )
  })

  test('order holds in each partition, and offsets are dense from 0, however many append at once', async () => {
    const appended: string[][] = [[], [], []]
    for (let round = 0; round < 4; round++) {
      const appends = Array.from({ length: 30 }, (_, n) => {
        const records = [record(n % 3, `${round} ${n} first`), record((n + n) % 3, `${round} ${n} second`)]
        for (const one of records) appended[one.partition]?.push(one.record.toString())
        return log().writer.append(records)
      })
      await Promise.all(appends)
    }
    const rows = await readRows(log().reader, 240)
    for (const partition of [0, 1, 2]) {
      const own = rows.filter((row) => row.partition === partition)
      expect(own.map(({ offset }) => offset)).toEqual(own.map((_, index) => index))
      expect(own.map(textOf).sort()).toEqual(appended[partition]?.sort())
      const rounds = own.map((row) => textOf(row)[0] ?? '')
      expect(rounds, 'what was appended after another append had resolved comes after it').toEqual([...rounds].sort())
      const texts = own.map(textOf)
      for (const text of texts.filter((one) => one.endsWith('second'))) {
        const first = texts.indexOf(text.replace('second', 'first'))
        expect(first, 'records of one append keep their order').toBeLessThan(texts.indexOf(text))
      }
    }
    expect(await log().writer.ends()).toEqual(appended.map((own) => own.length))
  })

  test('one append may hold far more for a partition than one record may (a request of 10 MiB)', async () => {
    const halfMebibyte = (n: number) => Buffer.alloc(512 * 1024, n)
    const records = Array.from({ length: 24 }, (_, n) => ({ partition: n % 2, record: halfMebibyte(n) }))
    await log().writer.append(records)
    const rows = await readRows(log().reader, 24)
    for (const partition of [0, 1]) {
      const own = rows.filter((row) => row.partition === partition)
      expect(own.map(({ batch }) => batch[7])).toEqual(own.map((_, index) => index * 2 + partition))
    }
    expect(await log().writer.ends()).toEqual([12, 12, 0])
  })
}

function describeReads(log: () => OpenLog): void {
  test('any position can be read again, with the same rows', async () => {
    for (let n = 0; n < 6; n++) await log().writer.append([record(0, `a${n}`), record(2, `b${n}`)])
    const all = await readRows(log().reader, 12)
    const from = fc.tuple(fc.nat(6), fc.constant(0), fc.nat(6))
    await fc.assert(
      fc.asyncProperty(from, async (positions) => {
        const expected = all.filter((row) => row.offset >= (positions[row.partition] ?? 0))
        expect(await readRows(log().reader, expected.length, positions)).toEqual(expected)
      }),
      { numRuns: 30 },
    )
  })

  test('a read is bounded by bytes, always gets on, and no partition starves another', async () => {
    const kilobyte = Buffer.alloc(1_000, 'x')
    await log().writer.append(Array.from({ length: 60 }, (_, n) => ({ partition: n % 3, record: kilobyte })))
    await readRows(log().reader, 60)
    const few = await log().reader.read(FROM_START, 6_000)
    expect(few.length).toBeLessThanOrEqual(9)
    expect(new Set(few.map(({ partition }) => partition))).toEqual(new Set([0, 1, 2]))
    const positions = [0, 0, 0]
    for (let read = 0; read < 60; ) {
      const rows = await readRows(log().reader, 1, positions, 6_000)
      expect(rows.length).toBeLessThanOrEqual(9)
      for (const row of rows) {
        expect(row.offset).toBe(positions[row.partition])
        positions[row.partition] = row.offset + 1
        read++
      }
    }
    const large = await readRows(log().reader, 1, [0, 20, 20], 1)
    expect(
      large.map(({ offset }) => offset),
      'a record larger than the bound is read all the same',
    ).toEqual([0])
  })

  test('waiting for more ends, whether more comes or not', async () => {
    await log().reader.waitForMore(1)
    const waiting = log().reader.waitForMore(1_000)
    await log().writer.append([record(0, 'a')])
    await waiting
    expect(await readRows(log().reader, 1)).toHaveLength(1)
  })
}

/** Append times are the order of first copies, and seals rest on them (design §4, invariant 5). */
function describeTimes(log: () => OpenLog): void {
  test('a record is known when it was appended; within the margin of clocks that never runs back', async () => {
    const { clockMarginMs } = log().reader
    const spans: [number, number][] = []
    for (let n = 0; n < 10; n++) {
      const before = Date.now()
      await log().writer.append([record(1, `${n}`)])
      spans.push([before - clockMarginMs, Date.now() + clockMarginMs])
    }
    const rows = await readRows(log().reader, 10)
    rows.forEach(({ knownAtMs }, n) => {
      expect(knownAtMs).toBeGreaterThanOrEqual(spans[n]![0])
      expect(knownAtMs).toBeLessThanOrEqual(spans[n]![1])
      expect(knownAtMs).toBeGreaterThanOrEqual((rows[n - 1]?.knownAtMs ?? 0) - clockMarginMs)
    })
  })

  test('what lies behind ends that were seen at W was known at W or later, but for the margin', async () => {
    const { reader, writer } = log()
    const looks: { w: number; ends: number[] }[] = []
    const until = Date.now() + 3 * reader.clockMarginMs + 300
    let appended = 0
    const appending = (async () => {
      while (Date.now() < until) await writer.append([record(appended++ % 3, 'x')])
    })()
    while (Date.now() < until) {
      const w = Date.now()
      looks.push({ w, ends: await reader.ends() })
    }
    await appending
    const rows = await readRows(reader, appended)
    expect(looks.length).toBeGreaterThan(2)
    for (const { w, ends } of looks) {
      const behind = rows.filter((row) => row.offset >= (ends[row.partition] ?? 0))
      expect(behind.filter((row) => row.knownAtMs < w - reader.clockMarginMs)).toEqual([])
    }
    const counts = [0, 1, 2].map((partition) => rows.filter((row) => row.partition === partition).length)
    expect(await reader.ends()).toEqual(counts)
  })
}

/** Reads from these offsets on until there are so many rows at least. */
export async function readRows(
  reader: EventLogReader,
  count: number,
  from: readonly (number | undefined)[] = FROM_START,
  maxBytes = PLENTY,
): Promise<LogRow[]> {
  const until = Date.now() + PATIENCE_MS
  let rows = await reader.read(from, maxBytes)
  while (rows.length < count) {
    if (Date.now() > until) throw new Error(`${rows.length} of ${count} rows came`)
    await reader.waitForMore(50)
    rows = await reader.read(from, maxBytes)
  }
  return rows
}

export function record(partition: number, text: string): LogAppend {
  return { partition, record: Buffer.from(text) }
}

export function textOf(row: LogRow): string {
  return row.batch.toString()
}

export function placed(row: LogRow): string {
  return `${row.partition}/${row.offset} ${textOf(row)}`
}
