import { expect, test } from 'vitest'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { eventsStored, fillSpan } from '../../../ops/bench/history/fill.clickhouse.ts'
import {
  CUSTOMER_PREFIX,
  CUSTOMERS,
  eventsIn,
  eventsOfCustomer,
  SPAN_MS,
  sliceStartMs,
  spanOf,
} from '../../../ops/bench/history/span.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { SHARD_SLICE_MS, shardOf } from '../../../schemas/event/identity.ts'
import { encodeBatch } from '../../../schemas/event/usage-batch.avro.ts'
import { encodeEvent } from '../../../schemas/event/usage-event.ts'
import { openUsageStore } from '../../support/embedded-stores.ts'

const TENANT = 7
const FROM_MS = Date.UTC(2026, 9, 1)

test('a span has so many events or a few less, in slices that do not touch', () => {
  for (const events of [2_000, 250_000, 10_000_000, 100_000_000]) {
    const span = spanOf(events, FROM_MS, 0)
    expect(eventsIn(span)).toBeGreaterThan(events * 0.99)
    expect(eventsIn(span)).toBeLessThanOrEqual(events)
    expect(span.stepMs).toBeGreaterThanOrEqual(SHARD_SLICE_MS)
    const last = sliceStartMs(span, span.slices - 1)
    expect(last).toBeGreaterThanOrEqual(FROM_MS)
    expect(last + SHARD_SLICE_MS).toBeLessThanOrEqual(FROM_MS + SPAN_MS)
  }
})

test('more events than a span has slices for make slices fuller', () => {
  const span = spanOf(10_000_000, FROM_MS, 0, 25 * 3_600_000)
  expect(span.slices).toBeLessThanOrEqual(25 * 360)
  expect(span.eventsPerSlice).toBeGreaterThan(1_000)
})

test('what customers used comes to all events, wherever the numbers of a span begin', () => {
  for (const first of [0, 1, 999, 123_456]) {
    const span = spanOf(4_800, FROM_MS, first)
    const all = Array.from({ length: CUSTOMERS }, (_, customer) => eventsOfCustomer(span, customer))
    expect(all.reduce((sum, events) => sum + events, 0)).toBe(eventsIn(span))
    expect(Math.max(...all) - Math.min(...all)).toBeLessThanOrEqual(1)
  }
})

type Stored = { shard: string; id: string; payload: string; type: string; subject: string; ms: string; data: string }

function storedOf(store: ClickHouseStore, tenant: number): Promise<Stored[]> {
  return store.query<Stored>(
    `SELECT toString(shard) AS shard, id, toString(payload) AS payload, toString(type) AS type, subject,
       toString(toUnixTimestamp64Milli(time)) AS ms, data
     FROM events WHERE tenant = {tenant:UInt32} AND source = 'bench' AND time_given ORDER BY id`,
    { tenant },
  )
}

test('the same events through the pump are the same rows', async () => {
  const store = await openUsageStore()
  await fillSpan(store, TENANT, spanOf(100, FROM_MS, 0))
  const made = await storedOf(store, TENANT)
  const encoded = made.map(({ id, type, subject, ms, data }) => {
    const identity = { tenant: TENANT + 1, source: 'bench', id }
    const event = { ...identity, shard: shardOf(identity), type, subject, timeMs: Number(ms), timeGiven: true, data }
    return encodeEvent(event)
  })
  await insertRecords(store, 'log', [{ knownAtMs: FROM_MS, partition: 0, offset: 0, batch: encodeBatch(encoded) }])
  const pumped = await storedOf(store, TENANT + 1)
  await store.close()
  expect(made).toHaveLength(104)
  expect(pumped).toEqual(made)
})

test('events that ClickHouse makes are as many as asked, in their shards, of their customers and marked', async () => {
  const store = await openUsageStore()
  const span = spanOf(3_000, FROM_MS, 500)
  await fillSpan(store, TENANT, span)
  const rows = await store.query<{ id: string; shard: string; subject: string; ms: string }>(
    `SELECT id, toString(shard) AS shard, subject, toString(toUnixTimestamp64Milli(time)) AS ms
     FROM events WHERE tenant = {tenant:UInt32}`,
    { tenant: TENANT },
  )
  const [state] = await store.query<{ shards: string; least: number }>(
    `SELECT toString(count()) AS shards, toUInt8(min(marks)) AS least FROM (
       SELECT shard, count() AS marks FROM shard_changes WHERE tenant = {tenant:UInt32} GROUP BY shard)`,
    { tenant: TENANT },
  )
  await store.close()
  expect(rows).toHaveLength(eventsStored(span))
  expect(new Set(rows.map(({ id }) => id)).size).toBe(rows.length)
  const wrong = rows.filter(
    ({ id, shard, ms }) => Number(shard) !== shardOf({ tenant: TENANT, source: 'bench', id }) || Number(ms) < FROM_MS,
  )
  expect(wrong).toEqual([])
  expect(new Set(rows.map(({ shard }) => shard)).size).toBe(span.slices)
  for (const customer of [0, 499, 999]) {
    const used = rows.filter(({ subject }) => subject === `${CUSTOMER_PREFIX}${customer}`)
    expect(used).toHaveLength(eventsOfCustomer(span, customer))
  }
  expect(state).toEqual({ shards: String(span.slices), least: 4 })
})
