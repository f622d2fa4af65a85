import { expect, test } from 'vitest'
import { createTenantsDue } from '../../../aggregator/rebuild/tenants-due.ts'

const MINUTE_MS = 60_000
const ALL = [1, 2, 3]

test('everyone is due at first, then who changed, and everyone again after a minute', () => {
  let nowMs = 0
  const due = createTenantsDue(() => nowMs, MINUTE_MS)
  expect(due.take(ALL)).toEqual(ALL)
  expect(due.take(ALL)).toEqual([])
  due.changed([2])
  expect(due.take(ALL)).toEqual([2])
  expect(due.take(ALL)).toEqual([])
  nowMs += MINUTE_MS
  expect(due.take(ALL)).toEqual(ALL)
  expect(due.take(ALL)).toEqual([])
})

test('what changed while the others were taken is due next time', () => {
  const due = createTenantsDue(() => 0, MINUTE_MS)
  due.take(ALL)
  due.changed([1])
  due.changed([3, 1])
  expect(due.take(ALL)).toEqual([1, 3])
})

test('a new meter makes everyone due', () => {
  const due = createTenantsDue(() => 0, MINUTE_MS)
  due.take(ALL)
  due.everyone()
  expect(due.take(ALL)).toEqual(ALL)
})
