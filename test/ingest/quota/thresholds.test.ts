import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { QuotaLimit, Threshold } from '../../../ingest/quota/limit.ts'
import { levelsOf, levelsReached } from '../../../ingest/quota/thresholds/levels.ts'
import { nextShareOf, rememberCounters } from '../../../ingest/quota/thresholds/watched.ts'
import { quotaLimit } from '../../support/quota-limit.ts'

const UNIT = 1_000_000n
const threshold = fc.oneof(
  fc.record({ percent: fc.integer({ min: 0, max: 9_999 }) }),
  fc.record({ micro: fc.bigInt(0n, 5_000n * UNIT) }),
)
const thresholds = fc.array(threshold, { maxLength: 8 })
const limits = fc.oneof(fc.bigInt(0n, 200n), fc.bigInt(0n, 5_000n * UNIT), fc.bigInt(0n, 10n ** 32n))
const texts = (usedMicro: bigint, limitMicro: bigint, all: readonly Threshold[]) =>
  levelsReached(usedMicro, limitMicro, all).map(({ text }) => text)

describe('levels of a limit', () => {
  const USUAL = [{ percent: 80 }, { percent: 50 }, { percent: 100 }, { micro: 600n * UNIT }]

  test('are reached by what is used, the lowest first, shares and quantities alike', () => {
    const at = (used: bigint) => texts(used * UNIT, 1_000n * UNIT, USUAL)
    expect([at(0n), at(499n), at(500n), at(799n)]).toEqual([[], [], ['50%'], ['50%', '600']])
    expect([at(800n), at(5_000n)]).toEqual([
      ['50%', '600', '80%'],
      ['50%', '600', '80%', '100%'],
    ])
  })

  test('of a share that is no whole micro-unit are not reached before it is', () => {
    expect(texts(1n, 3n, [{ percent: 50 }])).toEqual([])
    expect(texts(2n, 3n, [{ percent: 50 }])).toEqual(['50%'])
    expect(texts(33_333_333n, 100n * UNIT, [{ percent: 33.333334 }])).toEqual([])
    expect(texts(33_333_334n, 100n * UNIT, [{ percent: 33.333334 }])).toEqual(['33.333334%'])
  })

  test('a limit of 0, and a level of 0, are reached by the first use and not by none', () => {
    expect([texts(0n, 0n, [{ percent: 100 }]), texts(1n, 0n, [{ percent: 100 }])]).toEqual([[], ['100%']])
    expect([texts(0n, UNIT, [{ micro: 0n }]), texts(1n, UNIT, [{ micro: 0n }])]).toEqual([[], ['0']])
  })

  test('whatever they are: each once, in order, exact, and a larger use reaches no fewer', () => {
    fc.assert(
      fc.property(limits, limits, fc.bigInt(0n, 10n ** 10n), thresholds, (limit, used, more, all) => {
        const levels = levelsOf(limit, all)
        expect(new Set(levels.map(({ text }) => text)).size).toBe(levels.length)
        for (const [place, level] of levels.entries()) {
          expect(level.micro >= (levels[place - 1]?.micro ?? 0n)).toBe(true)
          const given = all.find((one) => 'percent' in one && `${one.percent}%` === level.text)
          // Exactly the share: as little as possible that is as much of it.
          if (given && 'percent' in given) {
            const share = limit * BigInt(given.percent)
            expect(level.micro * 100n >= share && (level.micro - 1n) * 100n < share).toBe(true)
          }
        }
        const reached = texts(used, limit, all)
        expect(reached).toEqual(levels.filter(({ micro }) => used > 0n && micro <= used).map(({ text }) => text))
        expect(texts(used + more, limit, all)).toEqual(expect.arrayContaining(reached))
      }),
    )
  })
})

/** The comparison that each draw makes instead of a look. */
describe('the share at which the next level lies', () => {
  test('is never beyond the share that is used when that level is reached, so no level is passed by', () => {
    fc.assert(
      fc.property(limits, limits, thresholds, (limit, used, all) => {
        const reached = levelsReached(used, limit, all)
        const left = limit > used ? limit - used : 0n
        const share = left === 0n ? Number.MAX_VALUE : 1 - Number(left) / Number(limit)
        for (const level of reached) expect(share >= nextShareOf(limit, [level])).toBe(true)
      }),
      { numRuns: 1_000 },
    )
  })

  test('leaves what is well below the next level alone, and everything once all is told', () => {
    expect(nextShareOf(1_000n, [{ micro: 800n }, { micro: 500n }])).toBeCloseTo(0.5)
    expect(0.499 >= nextShareOf(1_000n, [{ micro: 500n }])).toBe(false)
    expect(Number.MAX_VALUE >= nextShareOf(1_000n, [])).toBe(false)
    expect(nextShareOf(1_000n, [{ micro: 5_000n }]), 'beyond the limit: when it is used up').toBeLessThan(1)
  })
})

describe('what is remembered of counters', () => {
  const counter = (subject: string) => ({ tenant: 1, subject, meter: 'tokens', startMs: 0, endMs: 1 })
  const limit = quotaLimit({ meter: 'tokens', limitMicro: 1_000n })
  const others: readonly QuotaLimit[] = []

  test('is of the counter, whatever object names it; another limit is to be looked at anew', () => {
    const memory = rememberCounters(10)
    const one = memory.of({ counter: counter('a'), limit, others })
    one.nextShare = 0.8
    expect(memory.of({ counter: counter('a'), limit: { ...limit }, others })).toBe(one)
    expect(one.nextShare).toBe(0.8)
    expect(memory.of({ counter: counter('b'), limit, others })).not.toBe(one)
    memory.of({ counter: counter('a'), limit: { ...limit, limitMicro: 2_000n }, others })
    expect([one.nextShare, one.limit.limitMicro]).toEqual([0, 2_000n])
  })

  test('is to be looked at anew where levels or other limits on the counter changed, and not where nothing did', () => {
    const memory = rememberCounters(10)
    const shareAfter = (change: Partial<typeof limit>, beside: readonly (typeof limit)[]) => {
      const one = memory.of({ counter: counter('a'), limit: { ...limit, ...change }, others: beside })
      const { nextShare } = one
      one.nextShare = 0.8
      return nextShare
    }
    const [levels, fairUse] = [{ thresholds: [{ percent: 50 }, { micro: 7n }] }, quotaLimit({ ...limit, feature: 'b' })]
    expect([shareAfter({}, []), shareAfter({ subject: 'another of the customer' }, [])]).toEqual([0, 0.8])
    expect([shareAfter(levels, []), shareAfter(structuredClone(levels), [])]).toEqual([0, 0.8])
    expect([shareAfter(levels, [fairUse]), shareAfter(levels, [{ ...fairUse }])]).toEqual([0, 0.8])
  })

  test('is bounded: the oldest is forgotten', () => {
    const memory = rememberCounters(2)
    const of = (subject: string) => memory.of({ counter: counter(subject), limit, others })
    const [a, b] = [of('a'), of('b')]
    of('c')
    expect(of('b')).toBe(b)
    expect(of('a')).not.toBe(a)
  })
})
