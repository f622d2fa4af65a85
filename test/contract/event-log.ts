import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { EventLogReader } from '../../aggregator/pump/event-log.ts'
import type { EventLogWriter, LogAppend } from '../../ingest/append/event-log.ts'
import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'

/** Where the next appends break: before anything is written, half-way through a group, or when it is made durable. */
export type Fault = 'none' | 'begin' | 'half-way' | 'flush'

/** An opened log. It has three partitions. */
export type OpenLog = { writer: EventLogWriter; reader: EventLogReader; close(): Promise<void> }

/** A log's place; what was written is there when it is opened again. */
export type LogPlace = {
  open(now: () => number, fault: () => Fault): Promise<OpenLog>
  /** Appends one record to partition 0 in another process, which is killed as soon as the append has resolved. */
  appendAndBeKilled(text: string): Promise<void>
  remove(): Promise<void>
}

const START = Date.UTC(2026, 0, 1)
const FROM_START = [0, 0, 0]
const PLENTY = 1_000_000

/** What every adapter of the writer and the reader of the event log promises. */
export function describeEventLog(name: string, newPlace: () => Promise<LogPlace>): void {
  describe(`event log: ${name}`, () => {
    let place: LogPlace
    let log: OpenLog
    let nowMs: number
    let fault: Fault

    const open = () =>
      place.open(
        () => nowMs,
        () => fault,
      )
    beforeEach(async () => {
      nowMs = START
      fault = 'none'
      place = await newPlace()
      log = await open()
    })
    afterEach(async () => {
      await log.close()
      await place.remove()
    })

    describeAppends(() => log)
    describeReads(() => log)

    test('the clock of the log never runs back (invariant 5)', async () => {
      for (const [ms, text] of [
        [START + 10, 'a'],
        [START - 5_000, 'b'],
        [START + 20, 'c'],
      ] as const) {
        nowMs = ms
        await log.writer.append([record(1, text)])
      }
      const rows = await log.reader.read(FROM_START, PLENTY)
      expect(rows.map(({ knownAtMs }) => knownAtMs - START)).toEqual([10, 10, 20])
    })

    test('ends are a barrier: what lies behind them was known at W or later (seals rest on it, invariant 5)', async () => {
      const looks: Promise<{ w: number; ends: number[] }>[] = []
      const appends: Promise<void>[] = []
      for (let n = 0; n < 60; n++) {
        nowMs++
        appends.push(log.writer.append([record(n % 3, `${n}`)]))
        if (n % 4 === 3) {
          const w = ++nowMs
          looks.push(log.reader.ends().then((ends) => ({ w, ends })))
        }
        if (n % 10 === 9) await appends.at(-2)
      }
      const seen = await Promise.all(looks)
      await Promise.all(appends)
      const rows = await log.reader.read(FROM_START, PLENTY)
      expect(rows).toHaveLength(60)
      for (const { w, ends } of seen) {
        const behind = rows.filter((row) => row.offset >= (ends[row.partition] ?? 0))
        expect(behind.filter((row) => row.knownAtMs < w)).toEqual([])
      }
      expect(await log.reader.ends()).toEqual([20, 20, 20])
    })

    test('a restart keeps what was appended, goes on with its offsets, and its clock never runs back', async () => {
      const { logId } = log.writer
      nowMs = START + 10
      await log.writer.append([record(0, 'a'), record(2, 'b')])
      await log.close()
      nowMs = START - 60_000
      log = await open()
      expect([log.writer.logId, log.reader.logId]).toEqual([logId, logId])
      expect(await log.writer.ends()).toEqual([1, 0, 1])
      await log.writer.append([record(0, 'c'), record(1, 'd')])
      const rows = await log.reader.read(FROM_START, PLENTY)
      expect(rows.map(placed)).toEqual(['0/0 a', '0/1 c', '1/0 d', '2/0 b'])
      expect(new Set(rows.map(({ knownAtMs }) => knownAtMs))).toEqual(new Set([START + 10]))
    })

    test('what was acknowledged is there after kill -9 (invariant 2)', async () => {
      await log.close()
      await place.appendAndBeKilled('acknowledged')
      log = await open()
      expect((await log.reader.read(FROM_START, PLENTY)).map(placed)).toEqual(['0/0 acknowledged'])
      expect(await log.writer.ends()).toEqual([1, 0, 0])
    })

    test.each(['begin', 'half-way'] as const)(
      'an append that fails (%s) rejects and leaves no trace',
      async (where) => {
        await log.writer.append([record(0, 'a')])
        fault = where
        await expect(log.writer.append([record(0, 'lost'), record(0, 'lost'), record(1, 'lost')])).rejects.toThrow()
        expect(await log.reader.ends()).toEqual([1, 0, 0])
        fault = 'none'
        await log.writer.append([record(0, 'b')])
        expect((await log.reader.read(FROM_START, PLENTY)).map(placed)).toEqual(['0/0 a', '0/1 b'])
        expect(await log.writer.ends()).toEqual([2, 0, 0])
      },
    )

    test('an append of which nobody knows whether it is durable rejects, and nothing takes its offsets', async () => {
      fault = 'flush'
      await expect(log.writer.append([record(0, 'perhaps'), record(0, 'perhaps')])).rejects.toThrow()
      fault = 'none'
      await log.writer.append([record(0, 'sure')])
      const rows = await log.reader.read(FROM_START, PLENTY)
      expect(rows.map(({ offset }) => offset)).toEqual(rows.map((_, index) => index))
      expect(rows.map(textOf).filter((text) => text === 'sure')).toHaveLength(1)
      expect(textOf(rows.at(-1)!)).toBe('sure')
      expect(await log.writer.ends()).toEqual([rows.length, 0, 0])
    })
  })
}

function describeAppends(log: () => OpenLog): void {
  test('writer and reader name the same log with the same partitions', () => {
    expect(log().reader.logId).toBe(log().writer.logId)
    expect(log().writer.logId).not.toBe('')
    expect([log().writer.partitions, log().reader.partitions]).toEqual([3, 3])
  })

  test('an empty log ends at 0 and has nothing to read', async () => {
    expect(await log().writer.ends()).toEqual([0, 0, 0])
    expect(await log().reader.ends()).toEqual([0, 0, 0])
    expect(await log().reader.read(FROM_START, PLENTY)).toEqual([])
  })

  test('an append can be read as soon as it has resolved, byte for byte', async () => {
    const bytes = fc.uint8Array({ minLength: 1, maxLength: 5_000 }).map((some) => Buffer.from(some))
    let offset = 0
    await fc.assert(
      fc.asyncProperty(bytes, async (some) => {
        await log().writer.append([{ partition: 1, record: some }])
        const [row] = await log().reader.read([0, offset, 0], PLENTY)
        expect(row).toMatchObject({ partition: 1, offset })
        expect(row?.batch.equals(some)).toBe(true)
        offset++
      }),
      { numRuns: 20 },
    )
  })

  test('order holds in each partition, and offsets are dense from 0, however many append at once', async () => {
    const appended: string[][] = [[], [], []]
    const appends = Array.from({ length: 120 }, (_, n) => {
      const records = [record(n % 3, `${n}-first`), record((n + n) % 3, `${n}-second`)]
      for (const one of records) appended[one.partition]?.push(one.record.toString())
      return log().writer.append(records)
    })
    await Promise.all(appends)
    const rows = await log().reader.read(FROM_START, PLENTY)
    for (const partition of [0, 1, 2]) {
      const own = rows.filter((row) => row.partition === partition)
      expect(own.map(({ offset }) => offset)).toEqual(own.map((_, index) => index))
      expect(own.map(textOf)).toEqual(appended[partition])
    }
    expect(await log().writer.ends()).toEqual(appended.map((own) => own.length))
  })
}

function describeReads(log: () => OpenLog): void {
  test('any position can be read again, with the same rows', async () => {
    for (let n = 0; n < 6; n++) await log().writer.append([record(0, `a${n}`), record(2, `b${n}`)])
    const all = await log().reader.read(FROM_START, PLENTY)
    const from = fc.tuple(fc.nat(7), fc.nat(7), fc.nat(7))
    await fc.assert(
      fc.asyncProperty(from, async (positions) => {
        const expected = all.filter((row) => row.offset >= (positions[row.partition] ?? 0))
        expect(await log().reader.read(positions, PLENTY)).toEqual(expected)
      }),
      { numRuns: 30 },
    )
  })

  test('a read is bounded by bytes, always gets on, and no partition starves another', async () => {
    const kilobyte = Buffer.alloc(1_000, 'x')
    await log().writer.append(Array.from({ length: 60 }, (_, n) => ({ partition: n % 3, record: kilobyte })))
    const few = await log().reader.read(FROM_START, 6_000)
    expect(few.length).toBeLessThanOrEqual(9)
    expect(new Set(few.map(({ partition }) => partition))).toEqual(new Set([0, 1, 2]))
    // A record larger than the bound is read all the same.
    expect((await log().reader.read([0, 20, 20], 1)).map(({ offset }) => offset)).toEqual([0])
    const positions = [0, 0, 0]
    let read = 0
    for (let rows = few; rows.length > 0; rows = await log().reader.read(positions, 6_000)) {
      for (const row of rows) {
        expect(row.offset).toBe(positions[row.partition])
        positions[row.partition] = row.offset + 1
        read++
      }
    }
    expect(read).toBe(60)
  })

  test('waiting for more ends, whether more comes or not', async () => {
    await log().reader.waitForMore(1)
    const waiting = log().reader.waitForMore(1_000)
    await log().writer.append([record(0, 'a')])
    await waiting
    expect(await log().reader.read(FROM_START, PLENTY)).toHaveLength(1)
  })
}

function record(partition: number, text: string): LogAppend {
  return { partition, record: Buffer.from(text) }
}

function textOf(row: LogRow): string {
  return row.batch.toString()
}

function placed(row: LogRow): string {
  return `${row.partition}/${row.offset} ${textOf(row)}`
}
