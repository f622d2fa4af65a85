import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatMicro } from '../../../ingest/quota/limit.ts'
import { drawsFor, limitAt } from '../../../ingest/quota/limit-draws.ts'
import { decide } from '../../../ingest/quota/quota-store.ts'
import { type LimitAsked, standingFor, standingOf } from '../../../ingest/quota/standing.ts'
import { quotaLimit } from '../../support/quota-limit.ts'

const [DAY_MS, UNIT] = [86_400_000, 1_000_000n]
const [NOVEMBER_20, NOON] = [Date.UTC(2026, 10, 20), Date.UTC(2026, 10, 20, 12)]

function draw(limit: bigint, asked: bigint, days = 1, soft?: true): LimitAsked {
  const counter = { tenant: 1, subject: 's', meter: 'm', startMs: NOVEMBER_20, endMs: NOVEMBER_20 + days * DAY_MS }
  const limitMicro = limit * UNIT
  const window = days === 1 ? 'day' : 'month'
  const told = quotaLimit({ subject: 's', meter: 'm', limitMicro, window, ...(soft ? { soft } : {}) })
  return { counter, micro: asked * UNIT, limit: told }
}

/** Issue 6: a reason that says which limit denied. */
describe('where a subject stands', () => {
  test('without limits nothing is denied, and nothing is counted', () => {
    expect(standingOf([], [])).toEqual({
      ...{ quota_remaining: null, quota_exceeded: false, resets_at: null },
      reason: { code: 'no_limit', limits: [] },
    })
  })

  test('of two limits the one with the smallest share left says what remains, and both are told', () => {
    const { reason, ...rest } = standingOf([draw(100n, 5n), draw(10n, 5n, 30)], [90n * UNIT, 6n * UNIT])
    expect(rest).toEqual({ quota_remaining: '10', quota_exceeded: true, resets_at: '2026-11-21T00:00:00.000Z' })
    expect(reason).toMatchObject({
      code: 'limit_exceeded',
      limits: [
        { window: 'day', limit: '100', used: '90', remaining: '10', allows: true },
        { window: 'month', limit: '10', used: '6', remaining: '4', allows: false },
      ],
    })
  })

  test('of a limit that is passed nothing remains', () => {
    const { quota_remaining, reason } = standingOf([draw(10n, 0n)], [12n * UNIT])
    expect(quota_remaining).toBe('0')
    expect(reason.limits).toMatchObject([{ used: '12', remaining: '0', allows: false }])
  })

  test('a late event’s rolling limit has room again at a time to come, and never in the past', () => {
    const limit = quotaLimit({ subject: 's', meter: 'm', limitMicro: UNIT, window: 'rolling_hour' })
    const resetsAt = (eventMs: number) =>
      standingOf([{ ...limitAt(1, limit, eventMs, NOON), micro: 0n }], [0n], NOON).resets_at
    const minute = 60_000
    const all = [resetsAt(NOON - 70 * minute), resetsAt(NOON - minute), resetsAt(NOON), resetsAt(NOON + 5 * minute)]
    const next = '2026-11-20T12:05:00.000Z'
    expect(all).toEqual([next, next, next, '2026-11-20T12:10:00.000Z'])
  })

  test('beyond a soft limit nothing is denied, and it is said', () => {
    const soft = draw(10n, 1n, 1, true)
    expect(standingOf([soft, draw(20n, 1n, 30)], [10n * UNIT, 10n * UNIT])).toMatchObject({
      ...{ quota_remaining: '0', quota_exceeded: true },
      reason: { code: 'soft_limit_exceeded', limits: [{ enforcement: 'soft', allows: false }, { allows: true }] },
    })
    const both = standingOf([soft, draw(10n, 1n, 30)], [10n * UNIT, 10n * UNIT])
    expect(both.reason.code).toBe('limit_exceeded')
  })

  test('a key of single subjects learns of a limit that others share whether more fits, and nothing else (HC-8)', () => {
    const own = draw(100n, 5n)
    const shared = draw(10n, 5n, 30)
    const asked = [own, { ...shared, limit: { ...shared.limit, ofCustomer: true as const } }]
    const used = [20n * UNIT, 9n * UNIT]
    expect(standingFor({ scope: { subjects: ['s'] } }, asked, used)).toMatchObject({
      ...{ quota_remaining: '80', quota_exceeded: true },
      reason: { code: 'limit_exceeded', limits: [{ limit: '100', used: '20' }] },
    })
    for (const scope of ['everything' as const, { customer: 'acme' }])
      expect(standingFor({ scope }, asked, used)).toEqual(standingOf(asked, used))
  })

  test('it denies exactly what a draw would be refused, and tells what remains as a draw does', () => {
    const soft = fc.constantFrom(undefined, true as const)
    const one = fc.record({ limit: fc.bigInt(0n, 30n), asked: fc.bigInt(0n, 12n), used: fc.bigInt(0n, 40n), soft })
    fc.assert(
      fc.property(fc.array(one, { minLength: 1, maxLength: 4 }), (limits) => {
        const draws = limits.map((each) => draw(each.limit, each.asked, 1, each.soft))
        const used = limits.map(({ used }) => used * UNIT)
        const drawn = draws.flatMap((one) => drawsFor([one], one.micro))
        const { taken, over } = decide({ draws: drawn }, (_, place) => used[place]!, false, true)
        expect(standingOf(draws, used).reason.code === 'limit_exceeded').toBe(!taken)
        expect(standingOf(draws, used).quota_exceeded).toBe(!taken || over)
        const untouched = drawn.map((each) => ({ ...each, micro: 0n }))
        const { remainingMicro } = decide({ draws: untouched }, (_, place) => used[place]!, true, true)
        expect(standingOf(draws, used).quota_remaining).toBe(formatMicro(remainingMicro))
      }),
    )
  })
})
