import fc from 'fast-check'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { type Batcher, type BatcherLimits, createBatcher, type EncodedEvent } from '../../../ingest/append/batcher.ts'
import type { EventLogWriter, LogAppend } from '../../../ingest/append/event-log.ts'
import { decodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import { encodeEvent } from '../../../schemas/event/usage-event.ts'
import { usageEvent } from '../../support/log-events.ts'

const LIMITS: BatcherLimits = {
  lingerMs: 1_000_000,
  busyLingerMs: 1_000_000,
  maxRecordBytes: 512 * 1024,
  maxEventsPerRecord: 3,
  maxQueuedBytes: 10_000,
}

/** A log that is told when an append ends. */
type ManualLog = EventLogWriter & {
  appends: { records: readonly LogAppend[]; done: () => void; fail: (error: Error) => void }[]
}

let log: ManualLog
let batcher: Batcher

function manualLog(): ManualLog {
  const appends: ManualLog['appends'] = []
  return {
    logId: 'manual',
    partitions: 2,
    ends: async () => [0, 0],
    append: (records) => new Promise((done, fail) => appends.push({ records, done, fail })),
    appends,
  }
}

function encoded(id: string): Buffer {
  return encodeEvent(usageEvent(id))
}

function at(partition: number, bytes: Buffer): EncodedEvent {
  return { partition, encoded: bytes }
}

function recordsOf(append: { records: readonly LogAppend[] } | undefined): string[] {
  return (append?.records ?? []).map(
    ({ partition, record }) => `${partition}: ${decodeBatch(record).map((event) => event.id)}`,
  )
}

/** How a promise stands, without waiting for it. */
async function stateOf(promise: Promise<unknown>): Promise<string> {
  const rest = new Promise((done) => setImmediate(() => done('waiting')))
  const settled = promise.then(
    () => 'done',
    (error: Error) => `failed: ${error.message}`,
  )
  return (await Promise.race([settled, rest])) as string
}

beforeEach(() => {
  log = manualLog()
  batcher = createBatcher(log, LIMITS)
})

describe('records', () => {
  test('events that wait for one partition leave together, in order, at most so many a record', async () => {
    const ids = ['a', 'b', 'c', 'd', 'e', 'f', 'g']
    for (const [n, id] of ids.entries()) void batcher.add([at(n === 3 ? 1 : 0, encoded(id))])
    void batcher.drain()
    expect(log.appends).toHaveLength(1)
    expect(recordsOf(log.appends[0])).toEqual(['0: a,b,c', '0: e,f,g', '1: d'])
  })

  test('leave after the linger, without a drain', async () => {
    vi.useFakeTimers()
    try {
      batcher = createBatcher(log, { ...LIMITS, lingerMs: 5 })
      void batcher.add([at(0, encoded('a'))])
      await vi.advanceTimersByTimeAsync(3)
      void batcher.add([at(0, encoded('b'))])
      await vi.advanceTimersByTimeAsync(1)
      expect(log.appends).toHaveLength(0)
      await vi.advanceTimersByTimeAsync(1)
      expect(log.appends.map(recordsOf)).toEqual([['0: a,b']])
      log.appends[0]?.done()
      await vi.advanceTimersByTimeAsync(0)
      void batcher.add([at(0, encoded('c'))])
      await vi.advanceTimersByTimeAsync(5)
      expect(log.appends.map(recordsOf)).toEqual([['0: a,b'], ['0: c']])
    } finally {
      vi.useRealTimers()
    }
  })

  test('while an append is under way events gather until it ends, or for so long', async () => {
    vi.useFakeTimers()
    try {
      batcher = createBatcher(log, { ...LIMITS, lingerMs: 2, busyLingerMs: 10 })
      void batcher.add([at(0, encoded('a'))])
      await vi.advanceTimersByTimeAsync(2)
      void batcher.add([at(0, encoded('b'))])
      await vi.advanceTimersByTimeAsync(9)
      void batcher.add([at(0, encoded('c'))])
      expect(log.appends.map(recordsOf)).toEqual([['0: a']])
      await vi.advanceTimersByTimeAsync(1)
      expect(log.appends.map(recordsOf)).toEqual([['0: a'], ['0: b,c']])
      void batcher.add([at(0, encoded('d'))])
      log.appends[0]?.done()
      await vi.advanceTimersByTimeAsync(1)
      expect(log.appends).toHaveLength(2)
      log.appends[1]?.done()
      await vi.advanceTimersByTimeAsync(0)
      expect(log.appends.map(recordsOf)).toEqual([['0: a'], ['0: b,c'], ['0: d']])
    } finally {
      vi.useRealTimers()
    }
  })

  test('whatever is added, every event is in one record of its partition, in the order added', async () => {
    const added = fc.array(fc.record({ partition: fc.nat(1), flush: fc.boolean() }), { maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(added, async (events) => {
        const own = manualLog()
        const one = createBatcher(own, LIMITS)
        const adds = events.map(({ partition, flush }, n) => {
          const add = one.add([at(partition, encoded(`${partition}-${n}`))])
          if (flush) void one.drain()
          return add
        })
        const drained = one.drain()
        for (const append of own.appends) append.done()
        await Promise.all([...adds, drained])
        const records = own.appends.flatMap((append) => append.records)
        for (const partition of [0, 1]) {
          const ids = records.filter((one) => one.partition === partition).flatMap(({ record }) => decodeBatch(record))
          const expected = events.flatMap((event, n) => (event.partition === partition ? [`${partition}-${n}`] : []))
          expect(ids.map(({ id }) => id)).toEqual(expected)
        }
        for (const { record } of records) expect(decodeBatch(record).length).toBeLessThanOrEqual(3)
      }),
      { numRuns: 50 },
    )
  })

  test('an event of a partition that is not there is refused', async () => {
    await expect(batcher.add([at(2, encoded('a'))])).rejects.toThrow('Partition 2 is not one of 2')
  })
})

describe('answers', () => {
  test('an event is acknowledged when the log has its record, and not before (invariant 2)', async () => {
    const add = batcher.add([at(0, encoded('a'))])
    expect(await stateOf(add)).toBe('waiting')
    void batcher.drain()
    expect(await stateOf(add)).toBe('waiting')
    log.appends[0]?.done()
    expect(await stateOf(add)).toBe('done')
  })

  test('a failed append fails every event that was in it, and none that was not', async () => {
    const failing = [batcher.add([at(0, encoded('a'))]), batcher.add([at(1, encoded('b'))])]
    void batcher.drain()
    const later = batcher.add([at(0, encoded('c'))])
    void batcher.drain()
    log.appends[0]?.fail(new Error('disk'))
    expect(await Promise.all(failing.map(stateOf))).toEqual(['failed: disk', 'failed: disk'])
    log.appends[1]?.done()
    expect(await stateOf(later)).toBe('done')
  })
})

describe('room', () => {
  test('is taken by events until the log has them, or has failed', async () => {
    const bytes = encoded('a').length
    batcher = createBatcher(log, { ...LIMITS, maxQueuedBytes: 2 * bytes })
    expect(batcher.hasRoom(2 * bytes)).toBe(true)
    expect(batcher.hasRoom(2 * bytes + 1)).toBe(false)
    const adds = [batcher.add([at(0, encoded('a'))]), batcher.add([at(0, encoded('b'))])]
    expect(batcher.hasRoom(1)).toBe(false)
    const drained = batcher.drain()
    expect(batcher.hasRoom(1)).toBe(false)
    log.appends[0]?.fail(new Error('disk'))
    await Promise.allSettled([...adds, drained])
    expect(batcher.hasRoom(2 * bytes)).toBe(true)
  })
})

describe('drain', () => {
  test('sends what waits and ends when nothing is under way any more', async () => {
    void batcher.add([at(0, encoded('a'))])
    const drained = batcher.drain()
    void batcher.add([at(0, encoded('b'))])
    const again = batcher.drain()
    expect(await stateOf(drained)).toBe('waiting')
    log.appends[0]?.done()
    expect(await stateOf(drained)).toBe('waiting')
    log.appends[1]?.done()
    await Promise.all([drained, again])
  })

  test('ends although the append failed, and at once when nothing waits', async () => {
    await batcher.drain()
    const add = batcher.add([at(0, encoded('a'))])
    const drained = batcher.drain()
    log.appends[0]?.fail(new Error('disk'))
    await drained
    expect(await stateOf(add)).toBe('failed: disk')
  })
})
