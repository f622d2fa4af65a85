import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { gatherDraws } from '../../../ingest/quota/gathered-draws.ts'
import type { CounterKey, QuotaItem, QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { bucketOf, windowsOf } from '../../../ingest/quota/rolling.ts'
import { openEmbeddedLog } from '../../support/embedded-stores.ts'

/** Decision 0016: several requests of a tenant are one draw, and each is answered as if it had come alone. */
const NOW = Date.UTC(2026, 10, 20, 12)
const LIMIT = 100n

function counter(subject: string, tenant = 1): CounterKey {
  return { tenant, subject, meter: 'tokens', startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
}

function item(identity: string, key: CounterKey, micro: bigint): QuotaItem {
  return { identity, draws: [{ counter: key, micro, limitMicro: LIMIT }] }
}

describe('requests that come together', () => {
  let opened: Awaited<ReturnType<typeof openEmbeddedLog>>
  let store: QuotaStore
  let draw: QuotaStore['draw']
  /** How many items each draw of the store had. */
  let drawn: number[]

  beforeEach(async () => {
    opened = await openEmbeddedLog(() => NOW)
    store = opened.quota
    drawn = []
    draw = gatherDraws(
      async (items, nowMs, enforce) => {
        drawn.push(items.length)
        await refuseNegative(items)
        return store.draw(items, nowMs, enforce)
      },
      (error) => error instanceof RangeError,
    )
  })
  afterEach(() => opened.close())

  const refuseNegative = async (items: readonly QuotaItem[]) => {
    if (items.some(({ draws }) => draws.some(({ micro }) => micro < 0n))) throw new RangeError('negative')
  }
  const load = (key: CounterKey, micro = 0n) => store.load([{ counter: key, usedMicro: micro }], NOW)
  const takenOf = async (items: QuotaItem[], enforce = true) => {
    const answer = await draw(items, NOW, enforce)
    return 'missing' in answer ? 'missing' : answer.decisions.map(({ taken }) => taken)
  }

  test('are one draw of the store, decided in the order in which they came', async () => {
    const key = counter('a')
    await load(key)
    const asked = [60n, 50n, 40n].map((micro, n) => takenOf([item(`e-${n}`, key, micro)]))
    expect(await Promise.all(asked)).toEqual([[true], [false], [true]])
    expect(drawn).toEqual([3])
  })

  test('while a draw is under way are the next one', async () => {
    let release: () => void = () => undefined
    const gate = new Promise<void>((open) => {
      release = open
    })
    const gathered = gatherDraws(
      async (items, nowMs, enforce) => {
        drawn.push(items.length)
        if (drawn.length === 1) await gate
        return store.draw(items, nowMs, enforce)
      },
      () => false,
    )
    const key = counter('a')
    await load(key)
    const first = gathered([item('e-0', key, 1n)], NOW, true)
    await new Promise(setImmediate)
    const others = [1, 2, 3].map((n) => gathered([item(`e-${n}`, key, 1n)], NOW, true))
    release()
    expect(await Promise.all([first, ...others])).toMatchObject(
      [99n, 98n, 97n, 96n].map((remainingMicro) => ({ decisions: [{ taken: true, remainingMicro }] })),
    )
    expect(drawn).toEqual([1, 3])
  })

  test('stay apart by tenant and by whether limits are enforced', async () => {
    await load(counter('a'), LIMIT)
    await load(counter('a', 2), LIMIT)
    const asked = [
      takenOf([item('e-1', counter('a'), 1n)]),
      takenOf([item('e-2', counter('a'), 1n)], false),
      takenOf([item('e-3', counter('a', 2), 1n)]),
    ]
    expect(await Promise.all(asked)).toEqual([[false], [true], [false]])
    expect(drawn).toEqual([1, 1, 1])
  })

  test('do not hold the store up without end: beyond a thousand items they are several draws', async () => {
    const key = counter('a')
    await load(key)
    const request = (n: number) => Array.from({ length: 400 }, (_, index) => item(`e-${n}-${index}`, key, 0n))
    await Promise.all([0, 1, 2, 3].map((n) => takenOf(request(n))))
    expect(drawn).toEqual([800, 800])
  })

  test('are told of missing buckets too, which nobody draws on: they would be left to the next draw for ever', async () => {
    const bucket: CounterKey = { ...counter('rolling'), ...bucketOf(NOW, 'rolling_day'), rolling: true }
    const [window = []] = windowsOf(bucket, NOW)
    await store.load(
      window.slice(1).map((key) => ({ counter: key, usedMicro: 0n })),
      NOW,
    )
    const rolling = { identity: 'e-1', draws: [{ counter: bucket, micro: 1n, limitMicro: LIMIT, windows: [window] }] }
    expect(await draw([rolling], NOW, true)).toEqual({ missing: [window[0]] })
    expect(drawn).toEqual([1])
  })

  test('are told of missing counters only if these are their own; the others are decided', async () => {
    const [known, unknown] = [counter('known'), counter('unknown')]
    await load(known)
    const [ofKnown, ofUnknown, ofBoth] = await Promise.all([
      draw([item('e-1', known, 1n)], NOW, true),
      draw([item('e-2', unknown, 1n), item('e-3', unknown, 1n)], NOW, true),
      draw([item('e-4', known, 1n), item('e-5', unknown, 1n)], NOW, true),
    ])
    expect(ofKnown).toMatchObject({ decisions: [{ taken: true, remainingMicro: 99n }] })
    expect([ofUnknown, ofBoth]).toEqual([{ missing: [unknown] }, { missing: [unknown] }])
  })

  test('are told of what is missing without a name made for each of their events', async () => {
    let names = 0
    const key = {
      ...counter('known'),
      get subject() {
        names++
        return 'known'
      },
    }
    const gathered = gatherDraws(
      async () => ({ missing: [counter('unknown')] }),
      () => false,
    )
    const asked = Array.from({ length: 500 }, (_, n) => item(`e-${n}`, key, 1n))
    const unknown = item('e', counter('unknown'), 1n)
    expect(await gathered([...asked, unknown], NOW, true)).toEqual({ missing: [counter('unknown')] })
    expect(names).toBe(1)
  })

  test('do not fail with one that cannot be asked', async () => {
    const key = counter('a')
    await load(key)
    const asked = [takenOf([item('e-1', key, 1n)]), takenOf([item('e-2', key, -1n)]), takenOf([item('e-3', key, 1n)])]
    expect(await Promise.allSettled(asked)).toMatchObject([
      { status: 'fulfilled', value: [true] },
      { status: 'rejected', reason: expect.any(RangeError) as unknown },
      { status: 'fulfilled', value: [true] },
    ])
  })

  test('fail together when the store is away, those that wait with those that were asked, and the next are asked again', async () => {
    const away = new Error('away')
    let isAway = true
    let fail: (error: Error) => void = () => undefined
    const gathered = gatherDraws(
      (items, nowMs, enforce) =>
        isAway ? new Promise((_, reject) => (fail = reject)) : store.draw(items, nowMs, enforce),
      () => false,
    )
    const key = counter('a')
    await load(key)
    const first = gathered([item('e-1', key, 1n)], NOW, true)
    await new Promise(setImmediate)
    const second = gathered([item('e-2', key, 1n)], NOW, true)
    fail(away)
    await expect(first).rejects.toBe(away)
    await expect(second).rejects.toBe(away)
    isAway = false
    expect(await gathered([item('e-1', key, 1n)], NOW, true)).toMatchObject({ decisions: [{ drawn: true }] })
  })

  test('are each answered as one after the other would be', async () => {
    const requests = fc.array(
      fc.array(fc.record({ id: fc.nat(9), subject: fc.nat(2), micro: fc.bigInt({ min: 0n, max: 60n }) }), {
        minLength: 1,
        maxLength: 4,
      }),
      { minLength: 1, maxLength: 8 },
    )
    let run = 0
    await fc.assert(
      fc.asyncProperty(requests, fc.boolean(), async (asked, enforce) => {
        run++
        const itemsOf = (side: string) =>
          asked.map((items) =>
            items.map(({ id, subject, micro }) =>
              item(`${run}-${side}-${id}`, counter(`${run}-${side}-${subject}`), micro),
            ),
          )
        for (const side of ['together', 'alone'])
          for (const subject of [0, 1, 2]) await load(counter(`${run}-${side}-${subject}`))
        const together = await Promise.all(itemsOf('together').map((items) => draw(items, NOW, enforce)))
        const alone = []
        for (const items of itemsOf('alone')) alone.push(await store.draw(items, NOW, enforce))
        expect(together).toEqual(alone)
      }),
      { numRuns: 50 },
    )
  })
})
