import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { HOLD_GRACE_MS, HOLD_REMEMBERED_MS, type HoldRequest } from '../../ingest/quota/holds.ts'
import type { CounterKey, QuotaItem, QuotaStore } from '../../ingest/quota/quota-store.ts'
import type { OpenQuotaStore } from './quota-store.ts'

export type OpenHoldStore = OpenQuotaStore & {
  /** Another process on the same data. What it opens is closed with the first. */
  another(): Promise<QuotaStore>
  /** The counter alone is gone. */
  lose(counter: CounterKey): Promise<void>
  /** The counter holds this text. */
  spoil(counter: CounterKey, text: string): Promise<void>
  /** Everything is gone. */
  flush(): Promise<void>
  /** So many holds of a tenant live, beside those that are asked for. */
  crowd(tenant: number, holds: number): Promise<void>
  /** Of what is kept of a hold. */
  sizeOf(tenant: number, id: string): Promise<number>
}

const NOW = Date.UTC(2026, 10, 20, 12)
const MINUTE = 60_000
const LIMIT = 100n
const WINDOW = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
const TOKENS: CounterKey = { tenant: 1, subject: 'customer-1', meter: 'tokens', ...WINDOW }
const REQUESTS: CounterKey = { ...TOKENS, meter: 'requests' }

/** Issue 6, ops/decisions/0020-holds.md: what every adapter promises of reservations and leases. */
export function describeHolds(name: string, open: (now: () => number) => Promise<OpenHoldStore>): void {
  describe(`holds: ${name}`, () => {
    let opened: OpenHoldStore
    let store: QuotaStore
    let nowMs: number
    let made = 0

    beforeEach(async () => {
      nowMs = NOW
      opened = await open(() => nowMs)
      store = opened.store
      await store.load([{ counter: TOKENS, usedMicro: 0n }], nowMs)
    })
    afterEach(() => opened.close())

    const ask = (id: string, askedMicro: bigint, change: Partial<HoldRequest> = {}): HoldRequest => ({
      ...{ id, tenant: 1, subject: 'customer-1', meter: 'tokens', askedMicro },
      ...{ limits: [{ counter: TOKENS, limitMicro: LIMIT }], partly: false, lastsMs: MINUTE, ...change },
    })
    const hold = async (request: HoldRequest, by = store, enforce = true) => {
      const answer = await by.hold(request, nowMs, enforce)
      if ('missing' in answer) throw new Error('missing')
      return answer
    }
    const granted = async (id: string, micro: bigint, change: Partial<HoldRequest> = {}, by = store) =>
      (await hold(ask(id, micro, change), by)).hold?.grantedMicro
    const used = async (counter = TOKENS) => {
      const answer = await store.read([counter], nowMs)
      return 'missing' in answer ? 'missing' : answer.usedMicro[0]
    }
    const event = (micro: bigint, holdId?: string, counter = TOKENS): QuotaItem => ({
      identity: `1\ntest\ne-${made++}`,
      draws: [{ counter, micro, limitMicro: LIMIT }],
      ...(holdId === undefined ? {} : { hold: holdId }),
    })
    const draw = async (items: QuotaItem[], enforce = true) => {
      const answer = await store.draw(items, nowMs, enforce)
      if ('missing' in answer) throw new Error('missing')
      return answer.decisions
    }
    /** The clock goes on for the server as well. */
    const pass = async (ms: number) => {
      nowMs += ms
      await store.read([TOKENS], nowMs)
    }

    test('what is held counts as used at once, and what does not fit is not held', async () => {
      expect(await hold(ask('a', 60n))).toEqual({
        hold: {
          ...{ subject: 'customer-1', meter: 'tokens', askedMicro: 60n, grantedMicro: 60n },
          ...{ expiresAtMs: NOW + MINUTE, usedMicro: [60n] },
        },
        usedMicro: [60n],
      })
      expect(await hold(ask('b', 41n))).toEqual({ hold: undefined, usedMicro: [60n] })
      expect((await draw([event(41n)]))[0]).toMatchObject({ taken: false, remainingMicro: 40n })
      expect(await granted('c', 40n)).toBe(40n)
      expect(await used()).toBe(100n)
    })

    test('of a lease what fits is granted, and nothing when nothing is left', async () => {
      await draw([event(70n)])
      expect(await granted('a', 1_000n, { partly: true })).toBe(30n)
      expect(await hold(ask('b', 1n, { partly: true }))).toEqual({ hold: undefined, usedMicro: [100n] })
      expect(await used()).toBe(100n)
    })

    test('beyond a limit that was lowered, or passed, nothing is granted', async () => {
      await draw([event(150n)], false)
      expect(await granted('a', 1n, { partly: true })).toBeUndefined()
      expect(await used()).toBe(150n)
    })

    test('without enforcement all that is asked is granted', async () => {
      expect((await hold(ask('a', 150n), store, false)).hold?.grantedMicro).toBe(150n)
      expect((await hold(ask('b', 150n, { partly: true }), store, false)).hold?.grantedMicro).toBe(150n)
      expect(await used()).toBe(300n)
    })

    test('the same key again is the same hold, also when nothing is left, and after its end', async () => {
      const first = (await hold(ask('a', 100n))).hold
      for (let times = 0; times < 3; times++) expect((await hold(ask('a', 100n))).hold).toEqual(first)
      await store.release(1, 'a', nowMs)
      expect((await hold(ask('a', 100n))).hold).toEqual(first)
      await pass(HOLD_REMEMBERED_MS - MINUTE)
      expect((await hold(ask('a', 100n))).hold).toEqual(first)
      expect(await used()).toBe(0n)
      // Whoever asked otherwise under the same key is answered with what was asked first, and can tell.
      expect((await hold(ask('a', 7n, { subject: 'customer-2' }))).hold).toEqual(first)
    })

    test('holds of tenants are apart', async () => {
      const other = { ...TOKENS, tenant: 2 }
      await store.load([{ counter: other, usedMicro: 0n }], nowMs)
      await granted('a', 10n)
      const limits = [{ counter: other, limitMicro: LIMIT }]
      expect((await hold(ask('a', 20n, { tenant: 2, limits }))).hold?.grantedMicro).toBe(20n)
      expect(await store.release(2, 'a', nowMs)).toBe(20n)
      expect(await store.subjectOfHold(3, 'a')).toBeUndefined()
      expect([await used(), await used(other)]).toEqual([10n, 0n])
    })

    test('counters that are not loaded are named, and nothing is held', async () => {
      const limits = [TOKENS, REQUESTS].map((counter) => ({ counter, limitMicro: LIMIT }))
      expect(await store.hold(ask('a', 5n, { limits }), nowMs, true)).toEqual({ missing: [REQUESTS] })
      expect(await store.read([TOKENS, REQUESTS], nowMs)).toEqual({ missing: [REQUESTS] })
      expect(await used()).toBe(0n)
    })

    test('on two counters it is held on both or on none, and partly what fits on both', async () => {
      await store.load([{ counter: REQUESTS, usedMicro: 80n }], nowMs)
      const limits = [TOKENS, REQUESTS].map((counter) => ({ counter, limitMicro: LIMIT }))
      expect(await granted('a', 21n, { limits })).toBeUndefined()
      expect(await granted('b', 50n, { limits, partly: true })).toBe(20n)
      expect([await used(), await used(REQUESTS)]).toEqual([20n, 100n])
      expect(await store.release(1, 'b', nowMs)).toBe(20n)
      expect([await used(), await used(REQUESTS)]).toEqual([0n, 80n])
    })

    test('released, it is free again: once', async () => {
      await granted('a', 60n)
      expect(await store.release(1, 'a', nowMs)).toBe(60n)
      expect(await store.release(1, 'a', nowMs)).toBe(0n)
      expect(await store.release(1, 'unknown', nowMs)).toBe(0n)
      expect(await used()).toBe(0n)
      expect(await store.subjectOfHold(1, 'a')).toBe('customer-1')
    })

    test('what a lease did not use is returned: never more than it has, and the same amount again is no second return', async () => {
      await granted('a', 50n)
      expect(await store.returnUnused(1, 'a', 20n, nowMs)).toBe(20n)
      expect(await store.returnUnused(1, 'a', 20n, nowMs)).toBe(20n)
      expect(await used()).toBe(30n)
      expect(await store.returnUnused(1, 'a', 999n, nowMs)).toBe(30n)
      expect(await store.returnUnused(1, 'unknown', 5n, nowMs)).toBe(0n)
      expect(await used()).toBe(0n)
      expect(await store.release(1, 'a', nowMs)).toBe(0n)
    })

    test('an event draws from its hold first: the counter does not change until the hold is used up', async () => {
      await granted('a', 30n)
      await draw([event(65n)])
      expect(await draw([event(20n, 'a')])).toMatchObject([
        { taken: true, drawn: true, over: false, remainingMicro: 5n },
      ])
      expect(await used()).toBe(95n)
      expect(await draw([event(14n, 'a')])).toMatchObject([
        { taken: true, drawn: true, over: false, remainingMicro: 1n },
      ])
      expect(await used()).toBe(99n)
      // Beyond the hold and the limit: the work is done, so it is recorded and flagged.
      expect(await draw([event(5n, 'a')])).toMatchObject([{ taken: true, drawn: true, over: true, remainingMicro: 0n }])
      expect(await used()).toBe(104n)
      expect(await store.release(1, 'a', nowMs)).toBe(0n)
    })

    test('what a hold covers is not flagged, even if the limit is passed meanwhile', async () => {
      await granted('a', 30n)
      await draw([event(90n)], false)
      expect((await draw([event(30n, 'a')]))[0]).toMatchObject({ taken: true, over: false })
      expect(await used()).toBe(120n)
    })

    test('an event draws from its hold once, however often it is sent', async () => {
      await granted('a', 50n)
      const one = event(20n, 'a')
      const decisions = [...(await draw([one, one])), ...(await draw([one]))]
      expect(decisions.map(({ drawn }) => drawn)).toEqual([true, false, false])
      expect(await store.release(1, 'a', nowMs)).toBe(30n)
      expect(await used()).toBe(20n)
    })

    test('events with and without holds in one request are decided in order', async () => {
      await granted('a', 60n)
      const items = [event(30n), event(50n, 'a'), event(20n), event(10n), event(15n, 'a'), event(1n, 'unknown')]
      const decisions = await draw(items)
      expect(decisions.map(({ taken, over }) => (taken ? (over ? 'over' : 'taken') : 'refused'))).toEqual([
        ...['taken', 'taken', 'refused', 'taken', 'over', 'over'],
      ])
      expect(decisions.map(({ remainingMicro }) => remainingMicro)).toEqual([10n, 10n, 10n, 0n, 0n, 0n])
      expect(await used()).toBe(106n)
    })

    test('a hold covers its own counters: another meter, subject or window is drawn on as ever', async () => {
      const other = { ...TOKENS, subject: 'customer-2' }
      for (const counter of [REQUESTS, other]) await store.load([{ counter, usedMicro: 95n }], nowMs)
      await granted('a', 50n)
      expect((await draw([event(10n, 'a', other)]))[0]).toMatchObject({ taken: true, over: true })
      const both = { ...event(10n, 'a'), draws: [...event(10n).draws, ...event(10n, 'a', REQUESTS).draws] }
      expect((await draw([both]))[0]).toMatchObject({ taken: true, over: true })
      expect([await used(), await used(REQUESTS), await used(other)]).toEqual([50n, 105n, 105n])
      expect(await store.release(1, 'a', nowMs)).toBe(40n)
    })

    test('given back, what came from a hold is free, and sent again it is still not refused', async () => {
      await granted('a', 50n)
      const one = event(20n, 'a')
      await draw([one])
      await store.giveBack([one])
      expect(await used()).toBe(30n)
      expect((await draw([one]))[0]).toMatchObject({ taken: true, drawn: true, over: false })
      expect(await store.release(1, 'a', nowMs)).toBe(10n)
      expect(await used()).toBe(20n)
    })

    test('past its expiry it lives for the grace, and then goes back by itself, once', async () => {
      await granted('a', 60n)
      await draw([event(10n, 'a')])
      await pass(MINUTE + HOLD_GRACE_MS - 2_000)
      expect(await store.sweepHolds(nowMs)).toBe(0)
      expect((await draw([event(5n, 'a')]))[0]).toMatchObject({ over: false, remainingMicro: 40n })
      await pass(3_000)
      expect([await store.sweepHolds(nowMs), await store.sweepHolds(nowMs)]).toEqual([1, 0])
      expect(await used()).toBe(15n)
      expect(await store.release(1, 'a', nowMs)).toBe(0n)
      expect((await draw([event(5n, 'a')]))[0]).toMatchObject({ taken: true, remainingMicro: 80n })
    })

    test('any operation on holds ends those whose time is over first', async () => {
      await granted('a', 100n)
      await pass(2 * MINUTE)
      expect(await granted('b', 100n)).toBe(100n)
      await pass(2 * MINUTE)
      expect((await draw([event(3n, 'b'), event(97n)])).map(({ over }) => over)).toEqual([false, false])
      expect(await store.release(1, 'b', nowMs)).toBe(0n)
      expect(await used()).toBe(100n)
    })

    test('several processes that sweep at once give back once', async () => {
      const others = await Promise.all([opened.another(), opened.another()])
      await draw([event(40n)])
      for (let n = 0; n < 30; n++) await granted(`a-${n}`, 2n)
      await pass(2 * MINUTE)
      for (const other of others) await other.read([TOKENS], nowMs)
      const ended = await Promise.all([store, ...others, store].map((one) => one.sweepHolds(nowMs)))
      expect(ended.reduce((sum, one) => sum + one)).toBe(30)
      expect(await used()).toBe(40n)
    })

    test('more than one operation ends are ended by the next ones, and all by a sweep', async () => {
      const limits = [{ counter: TOKENS, limitMicro: 1_000n }]
      await Promise.all(Array.from({ length: 250 }, (_, n) => granted(`a-${n}`, 1n, { limits })))
      expect(await used()).toBe(250n)
      await pass(2 * MINUTE)
      expect(await store.release(1, 'a-0', nowMs)).toBe(0n)
      expect(await used()).toBe(150n)
      expect(await store.sweepHolds(nowMs)).toBe(150)
      expect(await used()).toBe(0n)
    })

    test('a counter that is loaded anew while holds stand has what they have left, beside what is used', async () => {
      await granted('a', 30n)
      await granted('b', 20n)
      await draw([event(10n, 'a')])
      await store.returnUnused(1, 'b', 5n, nowMs)
      await opened.lose(TOKENS)
      expect(await used()).toBe('missing')
      expect(await store.draw([event(1n, 'a')], nowMs, true)).toEqual({ missing: [TOKENS] })
      // A hold that ends meanwhile is not added.
      expect(await store.release(1, 'b', nowMs)).toBe(15n)
      await store.load([{ counter: TOKENS, usedMicro: 10n }], nowMs)
      expect(await used()).toBe(30n)
      expect(await store.release(1, 'a', nowMs)).toBe(20n)
      expect(await used()).toBe(10n)
    })

    test('of counters that are loaded together each has what its own holds have left', async () => {
      const other = { ...TOKENS, subject: 'customer-2' }
      await store.load(
        [REQUESTS, other].map((counter) => ({ counter, usedMicro: 0n })),
        nowMs,
      )
      await granted('a', 30n)
      const limits = [TOKENS, REQUESTS].map((counter) => ({ counter, limitMicro: LIMIT }))
      await granted('b', 20n, { limits })
      for (const counter of [TOKENS, REQUESTS]) await opened.lose(counter)
      await store.load(
        [other, REQUESTS, TOKENS].map((counter) => ({ counter, usedMicro: 5n })),
        nowMs,
      )
      expect([await used(), await used(REQUESTS), await used(other)]).toEqual([55n, 25n, 0n])
    })

    test('after a flush holds are forgotten: what they held is free, and that bounds what is overspent', async () => {
      await granted('a', 60n)
      await draw([event(40n)])
      await opened.flush()
      await store.load([{ counter: TOKENS, usedMicro: 40n }], nowMs)
      expect(await store.release(1, 'a', nowMs)).toBe(0n)
      expect((await draw([event(60n)]))[0]).toMatchObject({ taken: true, over: false })
      // The work that the hold admitted is recorded all the same.
      expect((await draw([event(60n, 'a')]))[0]).toMatchObject({ taken: true, over: true })
      expect(await used()).toBe(LIMIT + 60n)
    })

    test('large quantities are held, drawn and given back exactly', async () => {
      const huge = 10n ** 32n - 1n
      const limits = [{ counter: TOKENS, limitMicro: huge + 5n }]
      expect(await granted('a', huge, { limits })).toBe(huge)
      expect(await granted('b', huge, { limits, partly: true })).toBe(5n)
      await draw([{ ...event(0n, 'a'), draws: [{ counter: TOKENS, micro: huge - 2n, limitMicro: huge + 5n }] }])
      expect(await store.returnUnused(1, 'a', 1n, nowMs)).toBe(1n)
      expect(await store.release(1, 'a', nowMs)).toBe(1n)
      expect(await used()).toBe(huge + 3n)
    })

    test('64 clients that reserve, lease, use and release on one hard limit never exceed it', async () => {
      const clients = await Promise.all(Array.from({ length: 64 }, () => opened.another()))
      let spent = 0n
      await Promise.all(
        clients.map(async (mine, place) => {
          for (let turn = 0; turn < 10; turn++) {
            const id = `h-${place}-${turn}`
            const { hold: mineNow } = await hold(ask(id, 9n, { partly: turn % 2 === 0 }), mine)
            if (!mineNow) continue
            const micro = mineNow.grantedMicro - BigInt((place + turn) % 3)
            if (micro <= 0n) continue
            const answer = await mine.draw([event(micro, id)], nowMs, true)
            if ('missing' in answer || answer.decisions[0]?.over) throw new Error('a hold did not cover its event')
            spent += micro
            await mine.release(1, id, nowMs)
          }
        }),
      )
      for (let place = 0; place < 64; place++) {
        for (let turn = 0; turn < 10; turn++) await store.release(1, `h-${place}-${turn}`, nowMs)
      }
      expect(spent).toBeGreaterThan(90n)
      expect(spent).toBeLessThanOrEqual(LIMIT)
      expect(await used()).toBe(spent)
    })
  })
}
