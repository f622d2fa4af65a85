import { expect, test } from 'vitest'
import { afterEndedLogs } from '../../../ingest/append/ended-logs.ts'
import type { EventLogWriter } from '../../../ingest/append/event-log.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'

/** design.md §2.4, "a new topic generation": what is asked of the log holds for the logs that it followed, too. */
const writer: EventLogWriter = { logId: 'second', partitions: 1, append: async () => undefined, ends: async () => [7] }

/** Of each partition as much is stored as the test says. */
function storeOf(stored: () => number): ClickHouseStore {
  const query = async () => [{ partition: 0, end_text: String(stored()) }]
  return { query } as unknown as ClickHouseStore
}

test('the end of the log is told when the rest of the log before it is stored, not earlier', async () => {
  let [stored, told] = [4, false]
  const after = afterEndedLogs(
    writer,
    [{ logId: 'first', ends: async () => [5] }],
    storeOf(() => stored),
    async () => 'second',
  )
  const asked = after.ends().then((ends) => {
    told = true
    return ends
  })
  await new Promise((done) => setTimeout(done, 200))
  expect(told).toBe(false)
  stored = 5
  expect(await asked).toEqual([7])
})

test('appending, and whether the log answers, do not wait for that', async () => {
  const after = afterEndedLogs(
    writer,
    [{ logId: 'first', ends: async () => [5] }],
    storeOf(() => 0),
    async () => 'second',
  )
  await after.append([])
  expect(await after.answers?.()).toEqual([7])
})

test('a log that another one has followed does not say where it ends: this process does not know', async () => {
  let active = 'second'
  const after = afterEndedLogs(
    writer,
    [],
    storeOf(() => 0),
    async () => active,
  )
  expect(await after.ends()).toEqual([7])
  active = 'third'
  await expect(after.ends()).rejects.toMatchObject({ code: 'unavailable', message: expect.stringContaining('third') })
  expect(await after.answers?.()).toEqual([7])
})

test('while Postgres is away the log is taken for the present one', async () => {
  const after = afterEndedLogs(
    writer,
    [],
    storeOf(() => 0),
    () => Promise.reject(new Error('away')),
  )
  expect(await after.ends()).toEqual([7])
})
