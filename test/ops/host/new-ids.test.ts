import { expect, test } from 'vitest'
import { createIds } from '../../../ops/host/new-ids.ts'

const V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const timeOf = (id: string) => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)

test('ids are UUIDv7s of their time, in order, and no two are alike', () => {
  let nowMs = Date.UTC(2026, 10, 21)
  const newId = createIds(() => nowMs)
  const ids = Array.from({ length: 20_000 }, (_, n) => {
    if (n % 700 === 0) nowMs += 1
    return newId()
  })
  expect(ids.every((id) => V7.test(id))).toBe(true)
  expect(timeOf(ids[0]!)).toBe(Date.UTC(2026, 10, 21) + 1)
  expect(timeOf(ids.at(-1)!)).toBe(nowMs)
  expect(new Set(ids).size).toBe(ids.length)
  expect([...ids].sort()).toEqual(ids)
})

test('a clock that is set back keeps them in order', () => {
  const times = [1_000, 1_001, 5, 5, 1_001, 1_002]
  const ids = times.map((_, n) => n).map(() => '')
  let n = 0
  const newId = createIds(() => times[n++] ?? 0)
  for (const place of ids.keys()) ids[place] = newId()
  expect([...ids].sort()).toEqual(ids)
  expect(ids.map(timeOf)).toEqual([1_000, 1_001, 1_001, 1_001, 1_001, 1_002])
})

test('two processes make different ids in the same millisecond', () => {
  const [one, other] = [createIds(() => 7), createIds(() => 7)]
  const ids = Array.from({ length: 1_000 }, () => [one(), other()]).flat()
  expect(new Set(ids).size).toBe(ids.length)
})
