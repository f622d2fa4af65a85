import { expect, test } from 'vitest'
import { createTraffic, LATE_SPREAD_MS, PLAIN, type Shape, uuidV7 } from '../../../ops/bench/paced/traffic.ts'
import { idTimeMs } from '../../../schemas/event/identity.ts'

const NOW_MS = Date.UTC(2026, 10, 21, 12)
type Sent = { id: string; time: string; subject: string }

/** 200 requests of 100 events, a tenth of a second apart. */
function sendAll(shape: Shape): { events: (Sent & { nowMs: number })[]; fresh: number } {
  const traffic = createTraffic(shape)
  const bodies = Array.from({ length: 200 }, (_, place) => {
    const nowMs = NOW_MS + place * 100
    const { text, fresh } = traffic.next(100, nowMs)
    return { events: (JSON.parse(text) as Sent[]).map((event) => ({ ...event, nowMs })), fresh }
  })
  return { events: bodies.flatMap(({ events }) => events), fresh: bodies.reduce((sum, { fresh }) => sum + fresh, 0) }
}

test('a plain load is of new ids of this moment, and every id is another one', () => {
  const { events, fresh } = sendAll(PLAIN)
  expect(events).toHaveLength(20_000)
  expect(fresh).toBe(20_000)
  expect(new Set(events.map(({ id }) => id)).size).toBe(20_000)
  expect(events.every(({ id, time, nowMs }) => idTimeMs(id) === nowMs && Date.parse(time) === nowMs)).toBe(true)
})

test('one id in a hundred is late, and the late ones lie all over the last day', () => {
  const { events } = sendAll({ ...PLAIN, lateShare: 0.01 })
  const agesMs = events.map(({ id, nowMs }) => nowMs - (idTimeMs(id) ?? Number.NaN)).filter((ageMs) => ageMs !== 0)
  expect(agesMs).toHaveLength(200)
  const hours = agesMs.map((ageMs) => Math.floor((ageMs / LATE_SPREAD_MS) * 24))
  expect(new Set(hours).size).toBe(24)
  expect(Math.min(...hours)).toBe(0)
  expect(Math.max(...hours)).toBe(23)
})

test('one event in a hundred is a copy of one from an earlier request, and what is fresh is told', () => {
  const { events, fresh } = sendAll({ ...PLAIN, copyShare: 0.01 })
  expect(new Set(events.map(({ id }) => id)).size).toBe(fresh)
  expect(fresh).toBeLessThan(20_000 - 150)
  expect(fresh).toBeGreaterThanOrEqual(20_000 - 200)
})

test('opaque ids have no time', () => {
  const { events } = sendAll({ ...PLAIN, ids: 'opaque' })
  expect(events.filter(({ id }) => idTimeMs(id) !== undefined)).toEqual([])
})

test('a UUIDv7 that is put together carries its time and is one by its form', () => {
  expect(idTimeMs(uuidV7(NOW_MS + 7))).toBe(NOW_MS + 7)
  expect(uuidV7(NOW_MS)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
})
