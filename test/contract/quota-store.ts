import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import {
  type CounterKey,
  NO_LIMIT_MICRO,
  type QuotaDecision,
  type QuotaItem,
  type QuotaStore,
} from '../../ingest/quota/quota-store.ts'

/** A store on its own empty data. `now` is the clock of what takes no time of its own. */
export type OpenQuotaStore = { store: QuotaStore; close(): Promise<void> }

const NOW = Date.UTC(2026, 10, 20, 12)
const HOUR = 3_600_000

function counter(meter: string, change: Partial<CounterKey> = {}): CounterKey {
  return {
    tenant: 1,
    subject: 'customer-1',
    meter,
    startMs: Date.UTC(2026, 10, 1),
    endMs: Date.UTC(2026, 11, 1),
    ...change,
  }
}
const TOKENS = counter('tokens')
const REQUESTS = counter('requests')

/** An event that draws on counters: [counter, quantity, limit]. */
function item(identity: string, ...draws: [CounterKey, bigint, bigint][]): QuotaItem {
  return { identity, draws: draws.map(([key, micro, limitMicro]) => ({ counter: key, micro, limitMicro })) }
}

/** What every adapter of the quota store promises. */
export function describeQuotaStore(name: string, open: (now: () => number) => Promise<OpenQuotaStore>): void {
  describe(`quota store: ${name}`, () => {
    let opened: OpenQuotaStore
    let store: QuotaStore
    let nowMs: number

    beforeEach(async () => {
      nowMs = NOW
      opened = await open(() => nowMs)
      store = opened.store
    })
    afterEach(() => opened.close())

    const draw = async (items: QuotaItem[], enforce = true): Promise<QuotaDecision[]> => {
      const answer = await store.draw(items, nowMs, enforce)
      if ('missing' in answer) throw new Error(`missing: ${answer.missing.map(({ meter }) => meter).join()}`)
      return answer.decisions
    }
    /** What is used, seen by asking for nothing under a limit far away. */
    const usedOf = async (key: CounterKey): Promise<bigint> => {
      const far = 10n ** 30n
      const [decision] = await draw([item(`look-${Math.random()}`, [key, 0n, far])])
      return far - (decision?.remainingMicro ?? 0n)
    }
    const load = (key: CounterKey, micro = 0n) => store.load([{ counter: key, usedMicro: micro }], nowMs)

    test('counters that are not loaded are named, each once, and nothing is taken', async () => {
      await load(TOKENS)
      const items = [item('a', [TOKENS, 5n, 10n]), item('b', [REQUESTS, 1n, 10n]), item('c', [REQUESTS, 1n, 10n])]
      expect(await store.draw(items, nowMs, true)).toEqual({ missing: [REQUESTS] })
      expect(await usedOf(TOKENS)).toBe(0n)
      await load(REQUESTS)
      expect((await draw(items)).map(({ drawn }) => drawn)).toEqual([true, true, true])
    })

    test('loading sets what is missing and never overwrites what is counted', async () => {
      await load(TOKENS, 7n)
      await draw([item('a', [TOKENS, 2n, 100n])])
      await load(TOKENS, 0n)
      expect(await usedOf(TOKENS)).toBe(9n)
    })

    test('many are loaded in one step, each to its own, and those that exist stay', async () => {
      const others = Array.from({ length: 1_000 }, (_, n) => counter('tokens', { subject: `s-${n}` }))
      await load(TOKENS, 7n)
      await store.load(
        [TOKENS, ...others, REQUESTS].map((key, place) => ({ counter: key, usedMicro: BigInt(place) })),
        nowMs,
      )
      for (const place of [0, 499, 999]) expect(await usedOf(others[place]!)).toBe(BigInt(place + 1))
      expect([await usedOf(TOKENS), await usedOf(REQUESTS)]).toEqual([7n, 1_001n])
    })

    test('beyond a soft limit an item is taken and is over; a hard one beside it still refuses', async () => {
      await load(TOKENS)
      await load(REQUESTS)
      const soft = (identity: string, micro: bigint): QuotaItem => ({
        identity,
        draws: [
          { counter: TOKENS, micro, limitMicro: NO_LIMIT_MICRO, softMicro: 5n },
          { counter: REQUESTS, micro: 1n, limitMicro: 3n },
        ],
      })
      expect(await draw([soft('a', 5n), soft('b', 1n)])).toMatchObject([
        { taken: true, over: false, remainingMicro: 0n, limitMicro: 5n },
        { taken: true, over: true, remainingMicro: 0n },
      ])
      expect(await draw([soft('c', 2n), soft('d', 2n)])).toMatchObject([
        { taken: true, over: true },
        { taken: false, over: false },
      ])
      expect([await usedOf(TOKENS), await usedOf(REQUESTS)]).toEqual([8n, 3n])
    })

    test('of a soft and a hard limit on one counter the soft one flags and the hard one refuses; it is drawn on once', async () => {
      await load(TOKENS)
      const both = (identity: string, micro: bigint): QuotaItem => ({
        identity,
        draws: [{ counter: TOKENS, micro, limitMicro: 10n, softMicro: 5n }],
      })
      expect(await draw([both('a', 5n), both('b', 1n), both('c', 5n)])).toMatchObject([
        { taken: true, over: false, remainingMicro: 0n, limitMicro: 5n },
        { taken: true, over: true },
        { taken: false },
      ])
      expect(await usedOf(TOKENS)).toBe(6n)
    })

    test('a counter that subjects of a customer share is apart from a subject of that name', async () => {
      const shared = { ...TOKENS, ofCustomer: true } as const
      await load(TOKENS, 2n)
      await load(shared, 7n)
      await draw([item('a', [shared, 1n, 100n])])
      expect([await usedOf(TOKENS), await usedOf(shared)]).toEqual([2n, 8n])
    })

    test('items are decided in order, and one that does not fit does not stop a smaller one after it', async () => {
      await load(TOKENS)
      const decisions = await draw([
        item('a', [TOKENS, 6n, 10n]),
        item('b', [TOKENS, 5n, 10n]),
        item('c', [TOKENS, 4n, 10n]),
        item('d', [TOKENS, 1n, 10n]),
      ])
      expect(decisions.map(({ taken }) => taken)).toEqual([true, false, true, false])
      expect(decisions.map(({ remainingMicro }) => remainingMicro)).toEqual([4n, 4n, 0n, 0n])
    })

    test('an item takes all of its draws or none', async () => {
      await load(TOKENS)
      await load(REQUESTS, 2n)
      const [decision] = await draw([item('a', [TOKENS, 5n, 100n], [REQUESTS, 2n, 3n])])
      expect(decision).toMatchObject({ taken: false, drawn: false, over: false, remainingMicro: 1n })
      expect([await usedOf(TOKENS), await usedOf(REQUESTS)]).toEqual([0n, 2n])
    })

    test.each([
      ['the first', 90n, 1n, 10n],
      ['the second', 10n, 9n, 1n],
    ])('what remains belongs to the limit with the smallest share left: %s', async (_which, tokens, requests, left) => {
      await load(TOKENS)
      await load(REQUESTS)
      const [decision] = await draw([item('a', [TOKENS, tokens, 100n], [REQUESTS, requests, 10n])])
      expect(decision?.remainingMicro).toBe(left)
    })

    test('of a limit of 0 nothing remains, wherever it stands among the draws', async () => {
      await load(TOKENS)
      await load(REQUESTS)
      const none: [CounterKey, bigint, bigint] = [TOKENS, 1n, 0n]
      const some: [CounterKey, bigint, bigint] = [REQUESTS, 1n, 10n]
      for (const draws of [
        [none, some],
        [some, none],
      ]) {
        const [decision] = await draw([item('a', ...draws)])
        expect(decision).toMatchObject({ taken: false, drawn: false, over: false, remainingMicro: 0n })
      }
    })

    test('an identity draws once, however often it is sent, also within one request and past the limit', async () => {
      await load(TOKENS)
      const one = item('a', [TOKENS, 10n, 10n])
      const [first, again] = await draw([one, one])
      expect(first).toMatchObject({ taken: true, drawn: true, over: false, remainingMicro: 0n })
      expect(again).toMatchObject({ taken: true, drawn: false, over: false, remainingMicro: 0n })
      expect((await draw([one]))[0]).toMatchObject({ taken: true, drawn: false })
      expect(await usedOf(TOKENS)).toBe(10n)
    })

    test('a refused identity is not remembered: it may draw when there is room', async () => {
      await load(TOKENS)
      expect((await draw([item('a', [TOKENS, 11n, 10n])]))[0]?.taken).toBe(false)
      expect((await draw([item('a', [TOKENS, 10n, 10n])]))[0]).toMatchObject({ taken: true, drawn: true })
    })

    test('what is given back can be drawn again, by the same identity too', async () => {
      await load(TOKENS)
      await load(REQUESTS)
      const one = item('a', [TOKENS, 10n, 10n], [REQUESTS, 1n, 1n])
      await draw([one])
      await store.giveBack([one])
      expect([await usedOf(TOKENS), await usedOf(REQUESTS)]).toEqual([0n, 0n])
      expect((await draw([one]))[0]).toMatchObject({ taken: true, drawn: true })
    })

    test('given back twice, it is given back once', async () => {
      await load(TOKENS)
      const [one, other] = [item('a', [TOKENS, 3n, 10n]), item('b', [TOKENS, 4n, 10n])]
      await draw([one, other])
      for (let times = 0; times < 2; times++) await store.giveBack([one])
      expect(await usedOf(TOKENS)).toBe(4n)
    })

    test('it answers a ping', async () => {
      await store.ping()
    })

    test('without enforcement everything is taken, and what does not fit is flagged', async () => {
      await load(TOKENS)
      const decisions = await draw([item('a', [TOKENS, 8n, 10n]), item('b', [TOKENS, 8n, 10n])], false)
      expect(decisions).toMatchObject([
        { taken: true, drawn: true, over: false, remainingMicro: 2n },
        { taken: true, drawn: true, over: true, remainingMicro: 0n },
      ])
      expect(await usedOf(TOKENS)).toBe(16n)
      expect((await draw([item('c', [TOKENS, 1n, 10n])]))[0]?.taken).toBe(false)
    })

    test('counters are apart by tenant, subject, meter and window', async () => {
      const others = [
        counter('tokens', { tenant: 2 }),
        counter('tokens', { subject: 'customer-2' }),
        counter('requests'),
        counter('tokens', { startMs: Date.UTC(2026, 9, 1), endMs: Date.UTC(2026, 10, 1) }),
        counter('tokens', { endMs: Date.UTC(2026, 10, 2) }),
      ]
      for (const key of [TOKENS, ...others]) await load(key)
      await draw([item('a', [TOKENS, 5n, 10n])])
      for (const key of others) expect(await usedOf(key)).toBe(0n)
    })

    test('quantities beyond 64 bits are counted exactly', async () => {
      const huge = 10n ** 31n
      await load(TOKENS, huge)
      const [decision] = await draw([item('a', [TOKENS, 1n, huge + 2n])])
      expect(decision?.remainingMicro).toBe(1n)
    })

    test('a counter unused for a day is loaded anew; a use keeps it', async () => {
      await load(TOKENS, 5n)
      nowMs += 23 * HOUR
      expect(await usedOf(TOKENS)).toBe(5n)
      nowMs += 23 * HOUR
      expect(await usedOf(TOKENS)).toBe(5n)
      nowMs += 24 * HOUR
      expect(await store.draw([item('a', [TOKENS, 1n, 10n])], nowMs, true)).toEqual({ missing: [TOKENS] })
      await load(TOKENS, 8n)
      expect(await usedOf(TOKENS)).toBe(8n)
    })

    test('an identity is remembered for minutes, not for ever: the log knows it longer', async () => {
      await load(TOKENS)
      const one = item('a', [TOKENS, 1n, 10n])
      await draw([one])
      nowMs += 10 * 60_000
      expect((await draw([one]))[0]?.drawn).toBe(false)
      nowMs += HOUR
      expect((await draw([one]))[0]?.drawn).toBe(true)
    })

    test('a storm of requests never overspends: balance 600, five requests of 500, one is taken (C3)', async () => {
      await load(TOKENS, 400n)
      const decisions = await Promise.all(
        Array.from({ length: 5 }, (_, n) => draw([item(`e-${n}`, [TOKENS, 500n, 1_000n])])),
      )
      expect(decisions.flat().filter(({ taken }) => taken)).toHaveLength(1)
      expect(await usedOf(TOKENS)).toBe(900n)
    })

    test('whatever is asked at once, what is taken fits, and only what is taken is counted', async () => {
      const asked = fc.array(fc.array(fc.bigInt({ min: 0n, max: 60n }), { minLength: 1, maxLength: 4 }), {
        minLength: 1,
        maxLength: 12,
      })
      let run = 0
      await fc.assert(
        fc.asyncProperty(asked, async (requests) => {
          const key = counter('tokens', { subject: `storm-${run++}` })
          await load(key)
          const answers = await Promise.all(
            requests.map(async (quantities, request) => {
              const items = quantities.map((micro, n) => item(`${run}-${request}-${n}`, [key, micro, 100n]))
              return (await draw(items)).map((decision, n) => ({ decision, micro: quantities[n] ?? 0n }))
            }),
          )
          const taken = answers.flat().filter(({ decision }) => decision.taken)
          const sum = taken.reduce((total, { micro }) => total + micro, 0n)
          expect(sum).toBeLessThanOrEqual(100n)
          expect(await usedOf(key)).toBe(sum)
          for (const { decision, micro } of answers.flat())
            if (!decision.taken) expect(sum + micro).toBeGreaterThan(100n)
        }),
        { numRuns: 30 },
      )
    })
  })
}
