import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type CounterKey, countersOf, type QuotaItem, type QuotaStore } from '../../ingest/quota/quota-store.ts'
import { bucketOf, isAhead, windowsOf } from '../../ingest/quota/rolling.ts'
import { whenLoaded } from '../../ingest/quota/when-loaded.ts'
import { modelOf } from './quota-store.rolling-model.ts'
import type { OpenQuotaStore } from './quota-store.ts'

const [MINUTE_MS, HOUR_MS] = [60_000, 3_600_000]
/** The third minute of a bucket. */
const NOW = Date.UTC(2026, 10, 20, 12, 2)
const WIDTH_MS = 5 * MINUTE_MS
const LIMIT = 100n

/** Issue 6: limits per rolling window; ops/decisions/0026-rolling-windows.md. What every adapter promises. */
export function describeRolling(name: string, open: (now: () => number) => Promise<OpenQuotaStore>): void {
  describe(`rolling limits: ${name}`, () => {
    let opened: OpenQuotaStore
    let store: QuotaStore
    let nowMs: number
    let made = 0

    beforeEach(async () => {
      nowMs = NOW
      opened = await open(() => nowMs)
      store = opened.store
    })
    afterEach(() => opened.close())

    const bucket = (timeMs: number, subject = 'customer-1'): CounterKey => {
      return { tenant: 1, subject, meter: 'tokens', ...bucketOf(timeMs, 'rolling_hour'), rolling: true }
    }
    const rolling = (timeMs: number, subject?: string) => {
      const counter = bucket(timeMs, subject)
      return { counter, windows: windowsOf(counter, nowMs) }
    }
    /** An event of a time, under a limit of 100 in any hour. */
    const event = (timeMs: number, micro: bigint, subject?: string, change: object = {}): QuotaItem => ({
      identity: `1\ntest\nevent-${made++}`,
      draws: [{ ...rolling(timeMs, subject), micro, limitMicro: LIMIT, ...change }],
    })
    const load = async (counters: readonly CounterKey[], usedMicro = 0n) =>
      store.load(
        counters.map((counter) => ({ counter, usedMicro })),
        nowMs,
      )
    /** As ingest does: counters that are missing have nothing. */
    const draw = async (...items: QuotaItem[]) => {
      for (;;) {
        const answer = await store.draw(items, nowMs, true)
        if ('decisions' in answer) return answer.decisions
        await load(answer.missing)
      }
    }
    const taken = async (...items: QuotaItem[]) => (await draw(...items)).map((decision) => decision.taken)
    const usedOf = async (counter: CounterKey): Promise<bigint | 'missing'> => {
      const answer = await store.read([counter], nowMs)
      return 'missing' in answer ? 'missing' : (answer.usedMicro[0] ?? 0n)
    }

    test('are judged by what the hour before the event used, and it is written where its time lies', async () => {
      await draw(event(NOW - HOUR_MS, 60n), event(NOW - 30 * MINUTE_MS, 30n))
      expect(await draw(event(NOW, 4n))).toMatchObject([{ taken: true, remainingMicro: 6n, limitMicro: LIMIT }])
      expect(await draw(event(NOW, 7n))).toMatchObject([{ taken: false, remainingMicro: 6n }])
      expect([await usedOf(bucket(NOW)), await usedOf(bucket(NOW - HOUR_MS))]).toEqual([4n, 60n])
      // The bucket of an hour ago leaves with the end of the present one.
      nowMs += WIDTH_MS
      expect(await draw(event(nowMs, 7n))).toMatchObject([{ taken: true, remainingMicro: 59n }])
    })

    test('name every bucket that is missing, each once, and take nothing then', async () => {
      const item = event(NOW, 1n)
      const all = item.draws.flatMap(countersOf)
      expect(new Set(all).size).toBe(all.length)
      await load(all.slice(0, 5))
      const answer = await store.draw([item, event(NOW, 1n)], nowMs, true)
      const starts = 'missing' in answer ? answer.missing.map(({ startMs }) => startMs) : []
      expect(starts.toSorted()).toEqual(all.slice(5).map(({ startMs }) => startMs))
      expect(await usedOf(bucket(NOW - HOUR_MS))).toBe(0n)
    })

    test('events of one request in several buckets see each other', async () => {
      const times = [NOW - 50 * MINUTE_MS, NOW, NOW - 10 * MINUTE_MS, NOW]
      const items = [60n, 30n, 11n, 10n].map((micro, n) => event(times[n] ?? 0, micro))
      expect(await draw(...items)).toMatchObject([
        { taken: true, remainingMicro: 40n },
        { taken: true, remainingMicro: 10n },
        { taken: false, remainingMicro: 10n },
        { taken: true, remainingMicro: 0n },
      ])
    })

    test('a late event is judged by all windows that hold it, the one that has ended and the present one', async () => {
      await draw(event(NOW - 100 * MINUTE_MS, 95n), event(NOW, 40n))
      expect(await taken(event(NOW - 50 * MINUTE_MS, 6n))).toEqual([false])
      expect(await taken(event(NOW - 50 * MINUTE_MS, 5n))).toEqual([true])
      // Here only the present counts.
      expect(await taken(event(NOW - 20 * MINUTE_MS, 56n))).toEqual([false])
      expect(await taken(event(NOW - 20 * MINUTE_MS, 55n))).toEqual([true])
    })

    test('an event that is stamped minutes ahead counts against those of now', async () => {
      expect(await taken(event(NOW + 4 * MINUTE_MS, 90n), event(NOW, 11n), event(NOW, 10n))).toEqual([
        true,
        false,
        true,
      ])
    })

    test('a soft one is passed and says so, a hard one on the same buckets refuses', async () => {
      const both = (micro: bigint) => event(NOW, micro, 'customer-1', { softMicro: 50n })
      await draw(event(NOW - 30 * MINUTE_MS, 45n))
      expect(await draw(both(5n), both(1n), both(50n))).toMatchObject([
        { taken: true, over: false, limitMicro: 50n, remainingMicro: 0n },
        { taken: true, over: true },
        { taken: false },
      ])
    })

    test('beside another limit of the event all or none is drawn', async () => {
      const month = { tenant: 1, subject: 'customer-1', meter: 'tokens' }
      const counter = { ...month, startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
      const both = (micro: bigint, limitMicro: bigint): QuotaItem => {
        const { identity, draws } = event(NOW, micro)
        return { identity, draws: [...draws, { counter, micro, limitMicro }] }
      }
      await draw(event(NOW - 30 * MINUTE_MS, 90n))
      expect(await taken(both(11n, 1_000n), both(10n, 9n), both(10n, 10n))).toEqual([false, false, true])
      expect([await usedOf(counter), await usedOf(bucket(NOW))]).toEqual([10n, 10n])
    })

    test('a bucket is another counter than a window that happens to have its times, also of a customer', async () => {
      const ofBucket = bucket(NOW)
      const { rolling: _, ...plain } = ofBucket
      const all = [ofBucket, plain, { ...ofBucket, ofCustomer: true as const }, { ...plain, ofCustomer: true as const }]
      for (const [place, counter] of all.entries()) await load([counter], BigInt(place))
      const seen: [CounterKey, bigint | undefined][] = []
      for await (const page of store.livingCounters(nowMs, 1))
        for (const { counter, usedMicro } of page) seen.push([counter, usedMicro])
      expect(seen).toHaveLength(4)
      expect(seen).toEqual(expect.arrayContaining(all.map((counter, place) => [counter, BigInt(place)])))
    })

    test('what is only read is not kept: a bucket lives until its last window has ended, one of a month for a day', async () => {
      const old = bucket(NOW - 20 * MINUTE_MS)
      await draw(event(NOW - 20 * MINUTE_MS, 1n))
      for (let minutes = 0; minutes < 75; minutes += 15) {
        nowMs += 15 * MINUTE_MS
        await draw(event(nowMs, 1n))
      }
      expect(await usedOf(old)).toBe(1n)
      nowMs += 10 * MINUTE_MS
      expect(await usedOf(old)).toBe('missing')
      const ofMonth = { ...old, ...bucketOf(nowMs, 'rolling_30_days') }
      await load([ofMonth], 3n)
      nowMs += 23 * HOUR_MS
      expect(await usedOf(ofMonth)).toBe(3n)
      nowMs += HOUR_MS
      expect(await usedOf(ofMonth)).toBe('missing')
    })

    test('an active subject’s buckets are there when their time comes, and gone when it is over', async () => {
      await draw(event(NOW, 1n))
      const missing: CounterKey[] = []
      for (let minutes = 4; minutes <= 180; minutes += 4) {
        nowMs = NOW + minutes * MINUTE_MS
        const answer = await store.draw([event(nowMs, 1n)], nowMs, true)
        if ('decisions' in answer) continue
        missing.push(...answer.missing.filter((counter) => !isAhead(counter, nowMs)))
        await load(answer.missing)
        await draw(event(nowMs, 1n))
      }
      expect(missing).toEqual([])
      const living = new Set<number>()
      for await (const page of store.livingCounters(nowMs, 1))
        for (const { counter } of page) living.add(counter.startMs)
      // Those of an hour, those ahead, and some whose end comes; a day has 288.
      expect(living.size).toBeLessThan(24)
    })

    test('given back, it is room in its bucket again', async () => {
      const late = event(NOW - 10 * MINUTE_MS, 90n)
      await draw(late)
      expect(await taken(event(NOW, 20n))).toEqual([false])
      await store.giveBack([late])
      expect(await taken(event(NOW, 20n), late)).toEqual([true, false])
    })

    describe('what is held', () => {
      const hold = async (id: string, askedMicro: bigint, partly = false, lastsMs = HOUR_MS / 2) => {
        const limits = [{ ...rolling(nowMs), limitMicro: LIMIT }]
        const request = { id, tenant: 1, subject: 'customer-1', meter: 'tokens', askedMicro, limits, partly }
        for (;;) {
          const answer = await store.hold({ ...request, lastsMs }, nowMs, true)
          if (!('missing' in answer)) return answer
          await load(answer.missing)
        }
      }

      test('is what the windows leave, and stands in the bucket of its grant', async () => {
        await draw(event(NOW - 30 * MINUTE_MS, 70n))
        expect(await hold('a', 31n)).toEqual({ hold: undefined, usedMicro: [70n] })
        expect(await hold('b', 20n)).toMatchObject({ hold: { grantedMicro: 20n }, usedMicro: [90n] })
        expect(await hold('c', 31n, true)).toMatchObject({ hold: { grantedMicro: 10n }, usedMicro: [100n] })
        expect(await hold('b', 20n)).toMatchObject({ hold: { grantedMicro: 20n }, usedMicro: [90n] })
        expect(await usedOf(bucket(NOW))).toBe(30n)
        expect(await taken(event(NOW, 1n))).toEqual([false])
        expect(await store.release(1, 'b', nowMs)).toBe(20n)
        expect([await usedOf(bucket(NOW)), await taken(event(NOW, 20n))]).toEqual([10n, [true]])
      })

      const held = (timeMs: number, micro: bigint) => ({ ...event(timeMs, micro), hold: 'a' })
      const inBuckets = async (...times: number[]) => {
        const used = []
        for (const timeMs of times) used.push(await usedOf(bucket(timeMs)))
        return used
      }

      test('covers events of other buckets too: what they take leaves its bucket and counts in theirs', async () => {
        await draw(event(NOW - 30 * MINUTE_MS, 40n))
        await hold('a', 60n)
        expect(await draw(held(NOW, 10n))).toMatchObject([{ taken: true, over: false, remainingMicro: 0n }])
        expect(await inBuckets(NOW)).toEqual([60n])
        nowMs += WIDTH_MS
        const both = await draw(held(nowMs, 20n), event(nowMs, 1n))
        expect(both).toMatchObject([{ over: false, remainingMicro: 0n }, { taken: false }])
        expect(await inBuckets(NOW, nowMs)).toEqual([40n, 20n])
        const looked = await store.lookAt([bucket(NOW), bucket(nowMs)], nowMs)
        expect(looked.map(({ heldMicro }) => heldMicro)).toEqual([30n, 0n])
        // What it does not cover is taken all the same, and flagged.
        expect(await draw(held(nowMs, 35n))).toMatchObject([{ taken: true, over: true, remainingMicro: 0n }])
        expect([await inBuckets(NOW, nowMs), await store.release(1, 'a', nowMs)]).toEqual([[10n, 55n], 0n])
      })

      test('covers no event of which some window does not hold it: there nobody kept room for what would move', async () => {
        // Seventy minutes ago an hour was used up, which does not hold the reservation of now; another one does.
        await draw(event(NOW - 70 * MINUTE_MS, 100n))
        await hold('a', 60n)
        expect(await draw(held(NOW - 30 * MINUTE_MS, 5n))).toMatchObject([{ taken: true, over: true }])
        expect(await inBuckets(NOW - 30 * MINUTE_MS, NOW)).toEqual([5n, 60n])
        // Also where there is room, what is earlier than the reservation is counted beside it.
        expect(await draw(held(NOW - 5 * MINUTE_MS, 5n))).toMatchObject([{ over: false, remainingMicro: 30n }])
        expect(await inBuckets(NOW - 5 * MINUTE_MS, NOW)).toEqual([5n, 60n])
      })

      test('covers no event any more when a window has begun that ends without it', async () => {
        await hold('a', 60n, false, HOUR_MS)
        nowMs = NOW + 50 * MINUTE_MS
        expect(await draw(held(nowMs, 10n))).toMatchObject([{ over: false, remainingMicro: 40n }])
        expect(await inBuckets(NOW, nowMs)).toEqual([50n, 10n])
        nowMs = NOW + 56 * MINUTE_MS
        expect(await draw(held(nowMs, 20n))).toMatchObject([{ over: false, remainingMicro: 20n }])
        expect(await inBuckets(NOW, nowMs)).toEqual([50n, 20n])
        expect(await draw(held(nowMs, 21n))).toMatchObject([{ taken: true, over: true }])
      })

      test('is nothing in a bucket that was corrected to less: what leaves it does not make room elsewhere', async () => {
        await hold('a', 60n)
        await draw(event(NOW - 30 * MINUTE_MS, 20n))
        expect(await store.correct(bucket(NOW), 60n, 10n, nowMs)).toBe(true)
        nowMs += WIDTH_MS
        expect(await draw(held(nowMs, 50n), event(nowMs, 31n), event(nowMs, 30n))).toMatchObject([
          { over: false },
          { taken: false, remainingMicro: 30n },
          { taken: true, remainingMicro: 0n },
        ])
        expect(await inBuckets(NOW, nowMs)).toEqual([0n, 80n])
      })

      test('does not keep its bucket for longer than others, nor does a correction', async () => {
        await hold('a', 60n)
        nowMs += WIDTH_MS
        await draw(held(nowMs, 10n))
        expect(await store.correct(bucket(nowMs), 10n, 9n, nowMs)).toBe(true)
        nowMs += 79 * MINUTE_MS
        expect(await inBuckets(NOW, NOW + WIDTH_MS)).not.toContain('missing')
        nowMs += 2 * MINUTE_MS
        expect(await inBuckets(NOW, NOW + WIDTH_MS)).toEqual(['missing', 'missing'])
      })

      test('goes back to the bucket of its grant, after turns too, once', async () => {
        await hold('a', 60n)
        nowMs += 2 * WIDTH_MS
        const again = held(nowMs, 20n)
        await draw(again)
        await draw(again)
        expect(await store.release(1, 'a', nowMs)).toBe(40n)
        expect(await inBuckets(NOW, nowMs)).toEqual([0n, 20n])
        expect(await draw(held(nowMs, 81n))).toMatchObject([{ taken: true, over: true }])
      })

      test('is not found any more when its bucket has left the windows: the event is counted, and flagged if it passes', async () => {
        await hold('a', 100n)
        const [only] = bucket(NOW).rolling ? [rolling(NOW + 70 * MINUTE_MS)] : []
        nowMs += 20 * MINUTE_MS
        const late: QuotaItem = { ...held(0, 1n), draws: [{ ...only!, micro: 101n, limitMicro: LIMIT }] }
        expect(await draw(late)).toMatchObject([{ taken: true, over: true }])
        expect(await inBuckets(NOW)).toEqual([100n])
      })
    })

    test('whenever events come, the rule is that of a plain list of them, and no hour ever holds more than the limit', async () => {
      const minutes = fc.integer({ min: 0, max: 9 })
      const one = fc.record({
        held: fc.boolean(),
        ahead: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: -90, max: 5 })),
        micro: fc.oneof(fc.bigInt(1n, 40n), fc.constantFrom(99n, 100n, 101n)),
      })
      const request = fc.record({
        pass: minutes,
        reserved: fc.oneof({ weight: 7, arbitrary: fc.constant(null) }, fc.bigInt(1n, 60n)),
        events: fc.array(one, { minLength: 1, maxLength: 4 }),
      })
      await fc.assert(
        fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 25 }), async (requests) => {
          const subject = `model-${made++}`
          nowMs = NOW
          const model = modelOf(() => nowMs)
          const load = async (missing: readonly CounterKey[]) => {
            const uses = missing.map((counter) => ({
              counter,
              usedMicro: model.counted(counter.startMs, counter.endMs),
            }))
            await store.load(uses, nowMs)
          }
          let reservation = 'none'
          const endHold = async () => expect(await store.release(1, reservation, nowMs)).toBe(model.release())
          for (const { pass, reserved, events } of requests) {
            nowMs += pass * MINUTE_MS
            if (reserved !== null) {
              await endHold()
              reservation = `${subject}-${made++}`
              const limits = [{ ...rolling(nowMs, subject), limitMicro: LIMIT }]
              const terms = { tenant: 1, subject, meter: 'tokens', partly: false, lastsMs: 10 * HOUR_MS }
              const asked = { ...terms, id: reservation, askedMicro: reserved, limits }
              const { hold: granted } = await whenLoaded(load, () => store.hold(asked, nowMs, true))
              expect(granted !== undefined).toBe(model.reserve(reserved))
            }
            const asked = events.map(({ ahead, micro, held }) => ({ timeMs: nowMs + ahead * MINUTE_MS, micro, held }))
            const items = asked.map(({ timeMs, micro, held }) => {
              return held ? { ...event(timeMs, micro, subject), hold: reservation } : event(timeMs, micro, subject)
            })
            const { decisions } = await whenLoaded(load, () => store.draw(items, nowMs, true))
            const expected = asked.map(model.draw)
            expect(decisions.map(({ taken, over }) => ({ taken, over }))).toEqual(expected)
          }
          for (const [fromMs, sum] of model.hours()) expect([fromMs, sum <= LIMIT]).toEqual([fromMs, true])
          // Nothing was lost on the way from a hold to an event, and nothing counted twice.
          await endHold()
          for (let timeMs = NOW - 2 * HOUR_MS; timeMs < nowMs; timeMs += WIDTH_MS) {
            const one = bucket(timeMs, subject)
            const used = await usedOf(one)
            if (used !== 'missing') expect([timeMs, used]).toEqual([timeMs, model.counted(one.startMs, one.endMs)])
          }
        }),
        { numRuns: 40 },
      )
    })
  })
}
