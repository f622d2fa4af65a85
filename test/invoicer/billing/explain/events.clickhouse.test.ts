import { afterAll, beforeAll, expect, test } from 'vitest'
import { createClickHouseEventReader } from '../../../../invoicer/billing/explain/events.clickhouse.ts'
import type { Place } from '../../../../invoicer/billing/explain/events.ts'
import type { ClickHouseStore } from '../../../../schemas/clickhouse/store.ts'
import { openUsageStore } from '../../../support/embedded-stores.ts'

const START = Date.UTC(2026, 10, 2)
const DAY_MS = 86_400_000
const EVENTS = 3_000
/** More shards than one statement counts. */
const SHARDS = 1_200
let store: ClickHouseStore

beforeAll(async () => {
  store = await openUsageStore()
  const time = `toDateTime64('2026-11-02 00:00:00', 3, 'UTC') + number`
  const row = (tenant: number, payload: number, subject: string) =>
    store.command(
      `INSERT INTO events (tenant, shard, source, id, payload, type, subject, time, time_given, data, known_at, version)
       SELECT ${tenant}, number % ${SHARDS}, 's', toString(number), ${payload}, 'call', ${subject}, ${time}, true, '{}',
         ${time} + ${payload}, 1000000000 - number - ${payload} FROM numbers(${EVENTS})`,
    )
  await row(1, 0, `'subject-' || toString(number % 3)`)
  // A copy of each with another subject, and those of another tenant.
  await row(1, 5, `'subject-9'`)
  await row(2, 0, `'subject-1'`)
  await store.command(
    `INSERT INTO shard_changes (tenant, shard, log, partition, known_hour, next_offset)
     SELECT 1, number, 'log', 0, '2026-11-02 00:00:00', 9 FROM numbers(${SHARDS})`,
  )
})
afterAll(() => store.close())

const query = { subjects: ['subject-1'], fromMs: START, knownBeforeMs: START + DAY_MS }

test('identities are read page by page in the order of their places, each once, the first copy as what was sent', async () => {
  const reader = createClickHouseEventReader(store)
  const found: string[] = []
  for (let after: Place | undefined; ; ) {
    const page = await reader.identities(1, query, after, 400)
    for (const { id, first } of page) {
      expect(first).toMatchObject({
        subject: 'subject-1',
        timeMs: START + Number(id) * 1_000,
        knownAtMs: START + Number(id) * 1_000,
      })
      found.push(id)
    }
    if (page.length < 400) break
    after = page.at(-1)
  }
  expect(found.length).toBe(EVENTS / 3)
  expect(new Set(found).size).toBe(EVENTS / 3)
  const nobody = { ...query, subjects: [] }
  expect(await reader.identities(1, nobody, undefined, 10)).toEqual([])
})

test('with what was first sent comes one that only a later copy says is the subject’s, and nothing known later', async () => {
  const reader = createClickHouseEventReader(store)
  const [one] = await reader.identities(1, { ...query, subjects: ['subject-9'] }, undefined, 1)
  expect(one).toMatchObject({ id: '0', first: { subject: 'subject-0' } })
  const known = { ...query, subjects: ['subject-0', 'subject-1', 'subject-2'], knownBeforeMs: START + 10_000 }
  expect((await reader.identities(1, known, undefined, 100)).length).toBe(10)
  // Nothing came to any shard since.
  expect(await reader.identities(1, { ...query, fromMs: START + 2 * DAY_MS }, undefined, 10)).toEqual([])
})

test('all identities known before a moment are counted once, over more shards than one statement takes', async () => {
  const reader = createClickHouseEventReader(store)
  const [row] = await store.query<{ digest: string }>(
    `SELECT toString(sumWithOverflow(reinterpretAsUInt128(sipHash128Reference(tenant, source, id)))) AS digest
     FROM events WHERE tenant = 1 AND payload = 0`,
  )
  expect(await reader.sealed(1, START + DAY_MS)).toEqual({ events: EVENTS, digest: BigInt(row!.digest) })
  expect(await reader.sealed(1, START + 10_000)).toMatchObject({ events: 10 })
  expect(await reader.sealed(3, START + DAY_MS)).toEqual({ events: 0, digest: 0n })
  // An event whose shard nobody marked is counted all the same.
  await store.command(
    `INSERT INTO events (tenant, shard, source, id, payload, type, subject, time, time_given, data, known_at, version)
     SELECT 1, 5000000, 's', 'lost', 0, 'call', 'a', '2026-11-02 00:00:00', true, '{}', '2026-11-02 00:00:00', 7`,
  )
  expect(await reader.sealed(1, START + DAY_MS)).toMatchObject({ events: EVENTS + 1 })
})
