import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type HoldRequest, MOST_LIVING_HOLDS, MOST_RETURNS } from '../../ingest/quota/holds.ts'
import type { CounterKey, QuotaItem, QuotaStore } from '../../ingest/quota/quota-store.ts'
import type { OpenHoldStore } from './quota-store.holds.ts'

const LIMIT = 100n
const NOVEMBER = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
const TOKENS: CounterKey = { tenant: 1, subject: 'customer-1', meter: 'tokens', ...NOVEMBER }

/** Issue 6, ops/decisions/0020-holds.md: what holds may take of a store, and that no counter falls below zero. */
export function describeHoldBounds(name: string, open: (now: () => number) => Promise<OpenHoldStore>): void {
  describe(`bounds of holds: ${name}`, () => {
    const nowMs = Date.UTC(2026, 10, 20, 12)
    let opened: OpenHoldStore
    let store: QuotaStore
    let made = 0

    beforeEach(async () => {
      opened = await open(() => nowMs)
      store = opened.store
      await store.load([{ counter: TOKENS, usedMicro: 0n }], nowMs)
    })
    afterEach(() => opened.close())

    const ask = (id: string, askedMicro: bigint, change: Partial<HoldRequest> = {}): HoldRequest => ({
      ...{ id, tenant: 1, subject: 'customer-1', meter: 'tokens', askedMicro },
      ...{ limits: [{ counter: TOKENS, limitMicro: LIMIT }], partly: false, lastsMs: 60_000, ...change },
    })
    const hold = async (request: HoldRequest) => {
      const answer = await store.hold(request, nowMs, true)
      if ('missing' in answer) throw new Error('missing')
      return answer
    }
    const granted = async (id: string, micro: bigint, change: Partial<HoldRequest> = {}) =>
      (await hold(ask(id, micro, change))).hold?.grantedMicro
    const used = async () => {
      const answer = await store.read([TOKENS], nowMs)
      return 'missing' in answer ? 'missing' : answer.usedMicro[0]
    }
    const event = (micro: bigint, holdId?: string): QuotaItem => ({
      identity: `1\ntest\ne-${made++}`,
      draws: [{ counter: TOKENS, micro, limitMicro: LIMIT }],
      hold: holdId,
    })
    const draw = async (items: QuotaItem[]) => {
      const answer = await store.draw(items, nowMs, true)
      if ('missing' in answer) throw new Error('missing')
      return answer.decisions
    }

    test('returns are remembered up to a number of amounts: then nothing is freed until the hold ends', async () => {
      const most = BigInt(MOST_RETURNS)
      const limits = [{ counter: TOKENS, limitMicro: 1_000_000n }]
      await granted('a', 1_000_000n, { limits })
      for (let micro = 1n; micro <= most; micro++) expect(await store.returnUnused(1, 'a', micro, nowMs)).toBe(micro)
      const left = 1_000_000n - (most * (most + 1n)) / 2n
      expect(await store.returnUnused(1, 'a', most + 1n, nowMs)).toBe(0n)
      // Those that are remembered are answered as before.
      expect(await store.returnUnused(1, 'a', 7n, nowMs)).toBe(7n)
      expect(await used()).toBe(left)
      expect(await store.release(1, 'a', nowMs)).toBe(left)
      expect(await used()).toBe(0n)
    })

    test('a return that frees nothing is not remembered, however many come', async () => {
      await granted('a', 5n)
      await draw([event(5n, 'a')])
      const before = await opened.sizeOf(1, 'a')
      for (let micro = 1n; micro <= 50n; micro++) expect(await store.returnUnused(1, 'a', micro, nowMs)).toBe(0n)
      expect(await opened.sizeOf(1, 'a')).toBe(before)
    })

    test('of a tenant whose most holds live no more are granted until one ends; what was granted is answered', async () => {
      const other = { ...TOKENS, tenant: 2 }
      await store.load([{ counter: other, usedMicro: 0n }], nowMs)
      await opened.crowd(1, MOST_LIVING_HOLDS - 1)
      const first = (await hold(ask('a', 10n))).hold
      const refused = { name: 'Problem', code: 'overloaded', options: { retryAfterSeconds: 10 } }
      for (const partly of [false, true]) await expect(hold(ask('b', 10n, { partly }))).rejects.toMatchObject(refused)
      expect((await hold(ask('a', 10n))).hold).toEqual(first)
      expect(await used()).toBe(10n)
      const limits = [{ counter: other, limitMicro: LIMIT }]
      expect((await hold(ask('b', 10n, { tenant: 2, limits }))).hold?.grantedMicro).toBe(10n)
      expect((await draw([event(20n), event(3n, 'a')])).map(({ taken }) => taken)).toEqual([true, true])
      expect(await store.release(1, 'a', nowMs)).toBe(7n)
      expect(await granted('b', 10n)).toBe(10n)
      expect(await granted('c', 10n).catch(({ code }) => code)).toBe('overloaded')
    })

    test('holds that ended make room for as many', async () => {
      await opened.crowd(1, MOST_LIVING_HOLDS - 3)
      for (let turn = 0; turn < 3; turn++) {
        for (let n = 0; n < 3; n++) expect(await granted(`a-${turn}-${n}`, 1n)).toBe(1n)
        expect(await granted('more', 1n).catch(({ code }) => code)).toBe('overloaded')
        await store.release(1, `a-${turn}-0`, nowMs)
        await store.returnUnused(1, `a-${turn}-1`, 1n, nowMs)
        for (let n = 1; n < 3; n++) await store.release(1, `a-${turn}-${n}`, nowMs)
      }
      expect(await used()).toBe(0n)
    })

    test('a counter never falls below zero, whatever usage says and is given back', async () => {
      const look = async () => {
        await opened.lose(TOKENS)
        await store.load([{ counter: TOKENS, usedMicro: -7n }], nowMs)
        return used()
      }
      expect(await look()).toBe(0n)
      const one = event(10n)
      await draw([one])
      // Loaded anew without the draw, which is then given back.
      expect(await look()).toBe(0n)
      await store.giveBack([one])
      expect(await used()).toBe(0n)
      // What is held is not made less by what is below zero.
      await granted('a', 30n)
      expect(await look()).toBe(30n)
      expect((await draw([event(71n)]))[0]).toMatchObject({ taken: false, remainingMicro: 70n })
    })
  })
}
