import { describe, expect, test } from 'vitest'
import type { MeterRow } from '../../../ingest/accept/config.postgres.ts'
import { counts, edgeMeterOf, faultOf, quantityOf } from '../../../ingest/accept/meter-value.ts'
import { AGGREGATIONS } from '../../../schemas/meter/aggregation.ts'

const ROW: MeterRow = {
  ...{ slug: 'm', eventType: 'x', aggregation: 'sum', value: 'a.b', filter: null, fromMs: 0, untilMs: null },
}
const meter = (change: Partial<MeterRow> = {}) => edgeMeterOf({ ...ROW, ...change })

describe('a meter as the edge asks it', () => {
  test('is a slug and a path when it is nothing more: that is the hot path', () => {
    expect(meter()).toEqual({ slug: 'm', eventType: 'x', aggregation: 'sum', valuePath: ['a', 'b'] })
    expect(meter({ aggregation: 'count', value: null })).toEqual({
      ...{ slug: 'm', eventType: 'x', aggregation: 'count', valuePath: [] },
    })
  })

  test('a whole quantity of a plain path stays a number', () => {
    expect(quantityOf(meter(), { a: { b: 5 } })).toBe(5)
    expect(quantityOf(meter(), {})).toBe(0)
  })

  test('an expression is computed; what is at fault is named', () => {
    const half = meter({ value: 'a.b / 2 - c' })
    expect(String(quantityOf(half, { a: { b: 5 } }))).toBe('2.5')
    expect(quantityOf(half, { a: { b: 5 }, c: 'x' })).toBeUndefined()
    expect(faultOf(half, { a: { b: 5 }, c: 'x' })).toBe('data.c')
    expect(quantityOf(half, { c: 1 })).toBeUndefined()
    expect(faultOf(half, { c: 1 })).toBe('data')
    expect(faultOf(meter(), { a: { b: 'x' } })).toBe('data.a.b')
  })

  /** Issue 5: a value of a time-weighted sum is a change of the level, which also falls. */
  test('a level may fall, nothing else is negative', () => {
    const level = (value: string) => meter({ aggregation: 'time_weighted_sum', value })
    expect(quantityOf(level('a.b'), { a: { b: -2000 } })).toBe(-2000)
    expect(String(quantityOf(level('a.b'), { a: { b: '-0.5' } }))).toBe('-0.5')
    expect(quantityOf(level('a.b - c'), { a: { b: -2 }, c: 1 })).toBe(-3)
    expect(faultOf(level('a.b - c'), { a: { b: -2 }, c: 'x' })).toBe('data.c')
    for (const aggregation of AGGREGATIONS.filter(
      (one) => !['count', 'unique_count', 'time_weighted_sum'].includes(one),
    )) {
      expect([aggregation, quantityOf(meter({ aggregation }), { a: { b: -1 } })]).toEqual([aggregation, undefined])
      expect(quantityOf(meter({ aggregation, value: 'a.b + c' }), { a: { b: -1 }, c: 5 })).toBeUndefined()
      expect(faultOf(meter({ aggregation, value: 'a.b + c' }), { a: { b: -1 }, c: 5 })).toBe('data.a.b')
    }
  })

  test('whatever stands there is something to tell apart', () => {
    for (const b of ['text', true, -1, {}, null])
      expect(quantityOf(meter({ aggregation: 'unique_count' }), { a: { b } })).toBe(1)
  })

  test('counts the events of its version’s time, from its first instant to the next one’s', () => {
    const some = meter({ fromMs: 1000, untilMs: 2000 })
    expect([999, 1000, 1999, 2000].map((ms) => counts(some, {}, ms))).toEqual([false, true, true, false])
    expect(counts(meter({ fromMs: 1000 }), {}, 1e15)).toBe(true)
    expect(counts(meter(), {}, 0)).toBe(true)
  })

  test('counts what its filter lets through', () => {
    const large = meter({ filter: { equals: { path: 'size', value: 'large' } } })
    expect(counts(large, { size: 'large' }, 0)).toBe(true)
    expect(counts(large, { size: 'small' }, 0)).toBe(false)
  })
})
