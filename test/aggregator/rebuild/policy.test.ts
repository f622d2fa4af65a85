import fc from 'fast-check'
import { v7 } from 'uuid'
import { describe, expect, test } from 'vitest'
import { inRuns, isRipe, runNumber } from '../../../aggregator/rebuild/rebuild.ts'
import { FIRST_OPAQUE_SHARD, SHARD_SLICE_MS, shardOf } from '../../../schemas/event/identity.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const sliceAt = (ms: number) => shardOf({ tenant: 1, source: 's', id: v7({ msecs: ms }) })
const dirty = (shard: number, builtAtMs: number) => ({ shard, progress: '1', builtAtMs })

describe('a dirty shard is ripe for a rebuild', () => {
  test('when its slice has closed and settled', () => {
    const shard = dirty(sliceAt(NOW), 0)
    const settled = NOW + SHARD_SLICE_MS + 15_000
    expect(isRipe(shard, NOW)).toBe(false)
    expect(isRipe(shard, settled - 1)).toBe(false)
    expect(isRipe(shard, settled)).toBe(true)
  })

  test('at most once a minute, whatever comes later', () => {
    const old = sliceAt(NOW - 3_600_000)
    expect(isRipe(dirty(old, NOW - 59_999), NOW)).toBe(false)
    expect(isRipe(dirty(old, NOW - 60_000), NOW)).toBe(true)
  })

  test('always, a minute after the last time, if its ids are opaque: it never closes', () => {
    expect(isRipe(dirty(FIRST_OPAQUE_SHARD + 5, 0), NOW)).toBe(true)
    expect(isRipe(dirty(FIRST_OPAQUE_SHARD + 5, NOW - 1_000), NOW)).toBe(false)
  })
})

describe('shards rebuilt together', () => {
  test('are all of them in their order, at most 200, and no more than a million copies unless one alone holds more', () => {
    const sizes = fc.array(fc.oneof(fc.nat(2_000), fc.nat(3_000_000)), { maxLength: 450 })
    fc.assert(
      fc.property(sizes, (sizes) => {
        const shards = sizes.map((_, shard) => dirty(shard, 0))
        const runs = inRuns(shards, new Map(sizes.entries()))
        expect(runs.flat()).toEqual(shards)
        for (const [place, run] of runs.entries()) {
          const held = run.reduce((sum, { shard }) => sum + sizes[shard]!, 0)
          expect(run.length).toBeLessThanOrEqual(200)
          expect(run.length === 1 || held <= 1_000_000).toBe(true)
          const next = runs[place + 1]?.[0]
          if (next) expect(run.length === 200 || held + sizes[next.shard]! > 1_000_000).toBe(true)
        }
      }),
    )
  })
})

describe('a run’s number', () => {
  test('grows with time, differs by its random bits, and fits 62 bits until the year 2100', () => {
    const time = fc.integer({ min: Date.UTC(2026, 0, 1), max: Date.UTC(2100, 0, 1) })
    const bits = fc.nat(2 ** 20 - 1)
    fc.assert(
      fc.property(time, bits, bits, (ms, a, b) => {
        const run = BigInt(runNumber(ms, a))
        expect(run).toBeLessThan(2n ** 62n)
        expect(run === BigInt(runNumber(ms, b))).toBe(a === b)
        expect(BigInt(runNumber(ms + 1, b))).toBeGreaterThan(run)
        expect(run >> 20n).toBe(BigInt(ms))
      }),
    )
  })
})
