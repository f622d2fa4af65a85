import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FROM_START, type LogPlace, type OpenLog, PLENTY, placed, record, textOf } from './event-log.ts'

/** Where the next appends break: before anything is written, half-way through a group, or when it is made durable. */
export type Fault = 'none' | 'begin' | 'half-way' | 'flush'

/** A place whose log lives in this process: the test sets its clock and breaks it inside. */
export type BreakablePlace = Omit<LogPlace, 'open'> & {
  open(now?: () => number, fault?: () => Fault): Promise<OpenLog>
}

const START = Date.UTC(2026, 0, 1)

/** What a log in this process promises beyond every log's contract: one clock, one writer, appends whole or not at all. */
export function describeLogFaults(name: string, newPlace: () => Promise<BreakablePlace>): void {
  describe(`event log in this process: ${name}`, () => {
    let place: BreakablePlace
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

    describeOneWriter(() => log)

    test('its clock never runs back (invariant 5)', async () => {
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

    test('nor does it after a restart', async () => {
      nowMs = START + 10
      await log.writer.append([record(0, 'a'), record(2, 'b')])
      await log.close()
      nowMs = START - 60_000
      log = await open()
      await log.writer.append([record(0, 'c'), record(1, 'd')])
      const rows = await log.reader.read(FROM_START, PLENTY)
      expect(rows.map(({ knownAtMs }) => knownAtMs - START)).toEqual([10, 10, 10, 10])
    })

    test('ends are a barrier: what lies behind them was known at W or later, at any tick of the clock', async () => {
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

function describeOneWriter(log: () => OpenLog): void {
  test('appends stand in the order of the calls, and can be read as soon as they have resolved', async () => {
    const appended: string[][] = [[], [], []]
    const appends = Array.from({ length: 120 }, (_, n) => {
      const records = [record(n % 3, `${n}-first`), record((n + n) % 3, `${n}-second`)]
      for (const one of records) appended[one.partition]?.push(one.record.toString())
      return log().writer.append(records)
    })
    await Promise.all(appends)
    const rows = await log().reader.read(FROM_START, PLENTY)
    for (const partition of [0, 1, 2]) {
      expect(rows.filter((row) => row.partition === partition).map(textOf)).toEqual(appended[partition])
    }
  })
}
