import fc from 'fast-check'
import { expect, test } from 'vitest'
import { percentileOf, spreadOf } from '../../../ops/bench/percentile.ts'

test('a percentile is the smallest value that the share does not exceed', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index)
  expect(percentileOf(hundred, 0.5)).toBe(50)
  expect(percentileOf(hundred, 0.99)).toBe(99)
  expect(percentileOf([7], 0.99)).toBe(7)
  expect(percentileOf([1, 9], 0.5)).toBe(1)
  expect(percentileOf([], 0.5)).toBeNaN()
})

test('at least the share of all values lies at or below a percentile, and without it less does', () => {
  const values = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 1 })
  fc.assert(
    fc.property(values, fc.integer({ min: 1, max: 100 }), (some, percent) => {
      const found = percentileOf(some, percent / 100)
      const upTo = some.filter((value) => value <= found).length
      const below = some.filter((value) => value < found).length
      expect(upTo * 100).toBeGreaterThanOrEqual(percent * some.length)
      expect(below * 100).toBeLessThan(percent * some.length)
    }),
  )
})

test('a spread names the middle, the 99th percentile and the largest', () => {
  expect(spreadOf([3, 1, 2])).toEqual({ count: 3, p50: 2, p99: 3, max: 3 })
})
