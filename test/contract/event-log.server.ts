import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { EventLogReader } from '../../aggregator/pump/event-log.ts'
import type { Server } from '../../ops/stack/server.ts'
import type { LogRow } from '../../schemas/event/usage-batch.avro.ts'
import { killed } from './event-log.killed.ts'
import { FROM_START, type LogPlace, type OpenLog, PLENTY, readRows, record, textOf } from './event-log.ts'

/** A place whose log lives in a server, which the test stops, kills and freezes. */
export type ServerPlace = LogPlace & {
  server: Server
  freeze(): void
  thaw(): void
  /** One more reader beside that of `open`. */
  join(): Promise<EventLogReader>
  /** The same in a process of its own; it prints a line a row that it read, and stores nothing. */
  joinInAnotherProcess(): ChildProcess
}

/** Places append within 2 s, and hold 8 MiB at most of what could not be sent. */
export const SHORT = { appendWithinMs: 2_000, maxHeldBytes: 8 * 1024 ** 2 }
const MEBIBYTE = 1024 ** 2

/** What adapters of the event log promise while their server is killed, frozen or slow, and while readers come and go. */
export function describeLogServer(name: string, newPlace: () => Promise<ServerPlace>): void {
  describe(`event log on a server: ${name}`, () => {
    let place: ServerPlace
    let log: OpenLog

    beforeEach(async () => {
      place = await newPlace()
      log = await place.open()
    })
    afterEach(async () => {
      await log.close()
      await place.remove()
    })

    describeMembers(
      () => place,
      () => log,
    )

    test('killed by SIGKILL under load and started again: all go on, and nothing acknowledged is lost', async () => {
      const acknowledged = new Set<string>()
      let failed = 0
      let ending = false
      const append = async (partition: number) => {
        for (let n = 0; !ending; n++) {
          const text = `${partition}-${n}`
          await log.writer.append([record(partition, text)]).then(
            () => acknowledged.add(text),
            () => failed++,
          )
          await sleep(5)
        }
      }
      const appending = [0, 1, 2].map(append)
      await readRows(log.reader, 100)
      await place.server.kill()
      await sleep(SHORT.appendWithinMs + 500)
      await place.server.restart()
      const before = acknowledged.size
      const goneOn = () => acknowledged.size > before + 300
      for (const until = Date.now() + 60_000; !goneOn() && Date.now() < until; ) await sleep(50)
      ending = true
      await Promise.all(appending)
      expect(goneOn()).toBe(true)
      expect(failed, 'while it was away appends failed').toBeGreaterThan(0)
      const ends = await log.writer.ends()
      const rows = await readRows(
        log.reader,
        ends.reduce((sum, end) => sum + end, 0),
      )
      for (const partition of [0, 1, 2]) {
        const own = rows.filter((row) => row.partition === partition)
        expect(own.map(({ offset }) => offset)).toEqual(own.map((_, index) => index))
      }
      const texts = new Set(rows.map(textOf))
      expect([...acknowledged].filter((text) => !texts.has(text))).toEqual([])
    })

    test('frozen: appends and ends reject in time, waiting bytes are bounded, and all goes on when it thaws', async () => {
      await log.writer.append([record(0, 'before')])
      place.freeze()
      const ends = expect(log.writer.ends()).rejects.toThrow('did not answer within')
      const mebibyte = { partition: 1, record: Buffer.alloc(MEBIBYTE - 1_000) }
      const appends = await Promise.allSettled(Array.from({ length: 20 }, () => log.writer.append([mebibyte])))
      const reasons = appends.map((one) => (one.status === 'rejected' ? String(one.reason) : 'fulfilled'))
      expect(reasons.filter((reason) => reason.includes('did not answer within 2000 ms'))).toHaveLength(8)
      expect(reasons.filter((reason) => reason.includes('wait for it already'))).toHaveLength(12)
      await expect(log.writer.append([mebibyte]), 'they are still held').rejects.toThrow('wait for it already')
      await ends
      place.thaw()
      await appendAtLast(log, 'after')
      const rows = await readUntil(log.reader, (found) => found.some((row) => textOf(row) === 'after'))
      expect(rows.filter(({ partition }) => partition === 0).map(textOf)).toEqual(['before', 'after'])
    })

    test('a reader that is slow holds a bounded number of bytes, and stays a member', async () => {
      const chunk = Buffer.alloc(MEBIBYTE - 1_000, 'x')
      for (let n = 0; n < 30; n++) await log.writer.append([0, 1, 2].map((partition) => ({ partition, record: chunk })))
      const { generation } = log.reader.assignment()
      // All that is held is answered, since nothing is asked for that lies later.
      let held = 0
      for (const until = Date.now() + 8_000; Date.now() < until; await sleep(200)) {
        const rows = await log.reader.read(FROM_START, PLENTY)
        held = Math.max(held, rows.length * chunk.length)
      }
      expect(held).toBeGreaterThan(30 * MEBIBYTE)
      expect(held).toBeLessThan(48 * MEBIBYTE)
      expect(log.reader.assignment().generation).toBe(generation)
      expect(await drain(log.reader)).toEqual([30, 30, 30])
    })
  })
}

function describeMembers(place: () => ServerPlace, log: () => OpenLog): void {
  const partitionsOf = (...readers: EventLogReader[]) => readers.flatMap((one) => one.assignment().partitions).sort()

  test('a second reader takes a share and gives it back; each change is a new generation', async () => {
    await log().writer.append([record(0, 'a'), record(1, 'b'), record(2, 'c')])
    await readRows(log().reader, 3)
    const { generation } = log().reader.assignment()
    const second = await place().join()
    await eventually(() => log().reader.assignment().generation > generation)
    await eventually(() => partitionsOf(log().reader, second).join() === '0,1,2')
    expect(second.assignment().partitions.length).toBeGreaterThan(0)
    expect(log().reader.assignment().partitions.length).toBeGreaterThan(0)
    const rows = (await Promise.all([log().reader, second].map(readOwn))).flat()
    expect(rows.map(textOf).sort(), 'what nobody stored is read again, by whoever has it now').toEqual(['a', 'b', 'c'])
    const shared = log().reader.assignment().generation
    await second.stop()
    await eventually(() => log().reader.assignment().partitions.length === 3)
    expect(log().reader.assignment().generation).toBeGreaterThan(shared)
    expect(await readRows(log().reader, 3)).toHaveLength(3)
  })

  test('what a killed reader had read and not stored is read by another, which takes its share over', async () => {
    await log().writer.append([record(0, 'a'), record(1, 'b'), record(2, 'c')])
    const other = place().joinInAnotherProcess()
    const died = killed(other)
    const [line] = await Promise.race([once(other.stdout!, 'data'), died.then(() => ['it died'])])
    const [taken] = String(line).split('\n')
    other.kill('SIGKILL')
    await died
    await eventually(() => log().reader.assignment().partitions.length === 3)
    const rows = await readRows(log().reader, 3)
    expect(rows.map(({ partition, offset }) => `${partition}/${offset}`)).toContain(taken)
  })
}

async function eventually(holds: () => boolean): Promise<void> {
  for (const until = Date.now() + 60_000; !holds() && Date.now() < until; ) await sleep(50)
  expect(holds()).toBe(true)
}

async function readUntil(reader: EventLogReader, enough: (rows: LogRow[]) => boolean): Promise<LogRow[]> {
  let rows: LogRow[] = []
  for (const until = Date.now() + 60_000; !enough(rows) && Date.now() < until; await reader.waitForMore(50))
    // As the pump does: a broker that has just come back may know of no leader yet.
    rows = await reader.read(FROM_START, PLENTY).catch(() => [])
  expect(enough(rows)).toBe(true)
  return rows
}

/** One record of each partition that is this reader's. */
async function readOwn(reader: EventLogReader): Promise<LogRow[]> {
  const own = reader.assignment().partitions
  const offsets = [0, 1, 2].map((partition) => (own.includes(partition) ? 0 : undefined))
  return readRows(reader, own.length, offsets)
}

/** Reads on until there is no more: the number of rows of each partition, each of which came once and in order. */
async function drain(reader: EventLogReader): Promise<number[]> {
  const positions = [0, 0, 0]
  const ends = await reader.ends()
  while (positions.join() !== ends.join()) {
    for (const row of await readRows(reader, 1, positions, 8 * MEBIBYTE)) {
      expect(row.offset).toBe(positions[row.partition])
      positions[row.partition] = row.offset + 1
    }
  }
  return positions
}

/** Repeats as a sender does, who is told that it may. */
async function appendAtLast(log: OpenLog, text: string): Promise<void> {
  for (const until = Date.now() + 60_000; Date.now() < until; await sleep(100)) {
    if (
      await log.writer.append([record(0, text)]).then(
        () => true,
        () => false,
      )
    )
      return
  }
  throw new Error('No append went through')
}
