import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { LivingCounter } from '../../ingest/quota/counter-admin.ts'
import { type CounterKey, counterId, type QuotaItem, type QuotaStore } from '../../ingest/quota/quota-store.ts'
import type { OpenHoldStore } from './quota-store.holds.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const NOVEMBER = { startMs: Date.UTC(2026, 10, 1), endMs: Date.UTC(2026, 11, 1) }
const DAY_MS = 86_400_000
const TOKENS: CounterKey = { tenant: 1, subject: 'customer-1', meter: 'tokens', ...NOVEMBER }
const FAR = 10n ** 30n

/** Names that look like parts of keys, and what a subject may hold beside them. */
const SUBJECTS = [
  ...['a:b', 'x\ny', '}:used:1-2:m:', '{7}', '0-5:tokens:z', ':', '\n', '*', '?[a]', 'ü€𝄞', ' ', 'tokens@customer'],
  ...['quota:{2}:used:0-1:m:s', 'used\n2\nm\n0\n1\ns', '\u0000', '@customer', `${'long '.repeat(50)}`],
]

/** HC-5, ops/decisions/0022-reconciliation.md: what every adapter promises to whoever compares counters with usage. */
export function describeCounters(name: string, open: (now: () => number) => Promise<OpenHoldStore>): void {
  describe(`counters: ${name}`, () => {
    let opened: OpenHoldStore
    let store: QuotaStore
    let nowMs: number
    let made = 0

    beforeEach(async () => {
      nowMs = NOW
      opened = await open(() => nowMs)
      store = opened.store
    })
    afterEach(() => opened.close())

    const load = (counter: CounterKey, usedMicro = 0n) => store.load([{ counter, usedMicro }], nowMs)
    const event = (counter: CounterKey, micro: bigint, hold?: string): QuotaItem => ({
      identity: `${counter.tenant}\ntest\ne-${made++}`,
      draws: [{ counter, micro, limitMicro: FAR }],
      ...(hold === undefined ? {} : { hold }),
    })
    const draw = (counter: CounterKey, micro: bigint, hold?: string) =>
      store.draw([event(counter, micro, hold)], nowMs, true)
    const hold = (counter: CounterKey, id: string, askedMicro: bigint) => {
      const { tenant, subject, meter } = counter
      const limits = [{ counter, limitMicro: FAR }]
      return store.hold({ id, tenant, subject, meter, askedMicro, limits, partly: false, lastsMs: 60_000 }, nowMs, true)
    }
    const listed = async (tenant?: number) => {
      const all = new Map<string, LivingCounter>()
      for await (const page of store.livingCounters(nowMs, tenant))
        for (const one of page) all.set(counterId(one.counter), one)
      return [...all.values()].sort((a, b) => (counterId(a.counter) < counterId(b.counter) ? -1 : 1))
    }
    const inOrder = (living: LivingCounter[]) =>
      living.sort((a, b) => (counterId(a.counter) < counterId(b.counter) ? -1 : 1))
    const used = async (counter = TOKENS) => (await store.lookAt([counter], nowMs))[0]?.usedMicro

    test('those that live are listed with what is used and held, of one tenant or of all', async () => {
      const other = { ...TOKENS, tenant: 12 }
      const shared: CounterKey = { ...TOKENS, ofCustomer: true }
      for (const counter of [TOKENS, other, shared]) await load(counter, 7n)
      await draw(TOKENS, 3n)
      await hold(TOKENS, 'a', 20n)
      await draw(TOKENS, 4n, 'a')
      const ofOne = { counter: TOKENS, usedMicro: 30n, heldMicro: 16n }
      const ofCustomer = { counter: shared, usedMicro: 7n, heldMicro: 0n }
      const ofOther = { counter: other, usedMicro: 7n, heldMicro: 0n }
      expect(await listed(1)).toEqual(inOrder([ofOne, ofCustomer]))
      expect(await listed(12)).toEqual([ofOther])
      expect(await listed(2)).toEqual([])
      expect(await listed()).toEqual(inOrder([ofOne, ofCustomer, ofOther]))
    })

    test('whatever the subject is called', async () => {
      const counters = SUBJECTS.flatMap((subject): CounterKey[] => [
        { ...TOKENS, subject },
        { ...TOKENS, subject, ofCustomer: true },
        { ...TOKENS, subject, startMs: -7_200_000, endMs: -3_600_000 },
      ])
      for (const counter of counters) {
        await load(counter, 5n)
        await hold(counter, `hold-${made++}`, 2n)
      }
      expect(await listed(1)).toEqual(inOrder(counters.map((counter) => ({ counter, usedMicro: 7n, heldMicro: 2n }))))
      expect(await store.lookAt(counters, nowMs)).toEqual(
        counters.map((counter) => ({ counter, usedMicro: 7n, heldMicro: 2n })),
      )
    })

    test('all of many, also while others come and go, draw and are held', async () => {
      const counters = Array.from({ length: 2_503 }, (_, n) => ({ ...TOKENS, subject: `s-${n}` }))
      await store.load(
        counters.slice(0, 1_250).map((counter) => ({ counter, usedMicro: 1n })),
        nowMs,
      )
      await store.load(
        counters.slice(1_250).map((counter) => ({ counter, usedMicro: 1n })),
        nowMs,
      )
      const seen = new Set<string>()
      let pages = 0
      for await (const page of store.livingCounters(nowMs, 1)) {
        for (const { counter } of page) seen.add(counter.subject)
        await load({ ...TOKENS, subject: `new-${pages}` })
        await opened.lose({ ...TOKENS, subject: `new-${pages - 1}` })
        await draw({ ...TOKENS, subject: `s-${pages}` }, 1n)
        await hold({ ...TOKENS, subject: `s-${pages}` }, `hold-${pages}`, 1n)
        pages++
      }
      expect(pages).toBeGreaterThan(2)
      expect(counters.filter(({ subject }) => !seen.has(subject))).toEqual([])
    })

    test('none that is gone: lost, or unused for a day', async () => {
      const [lost, kept] = [
        { ...TOKENS, subject: 'lost' },
        { ...TOKENS, subject: 'kept' },
      ]
      for (const counter of [TOKENS, lost, kept]) await load(counter, 1n)
      await opened.lose(lost)
      nowMs += DAY_MS - 60_000
      await draw(kept, 1n)
      expect((await listed()).map(({ counter }) => counter.subject)).toEqual(['customer-1', 'kept'])
      nowMs += 60_000
      const living = [{ counter: kept, usedMicro: 2n, heldMicro: 0n }]
      expect(await listed()).toEqual(living)
      expect(await store.lookAt([TOKENS, lost, kept], nowMs)).toEqual(living)
      expect(await store.correct(TOKENS, 1n, 5n, nowMs)).toBe(false)
      expect(await store.draw([event(TOKENS, 1n)], nowMs, true)).toEqual({ missing: [TOKENS] })
    })

    test('one is set if it is what it was, and draws go on from there', async () => {
      await load(TOKENS, 10n)
      expect(await store.correct(TOKENS, 9n, 3n, nowMs)).toBe(false)
      expect(await used()).toBe(10n)
      expect(await store.correct(TOKENS, 10n, 3n, nowMs)).toBe(true)
      expect(await used()).toBe(3n)
      expect(await store.correct(TOKENS, 10n, 99n, nowMs)).toBe(false)
      await draw(TOKENS, 4n)
      expect(await used()).toBe(7n)
      const large = 10n ** 25n
      expect(await store.correct(TOKENS, 7n, large, nowMs)).toBe(true)
      await draw(TOKENS, 1n)
      expect(await store.correct(TOKENS, large + 1n, 0n, nowMs)).toBe(true)
      expect(await used()).toBe(0n)
      // It holds a number, so it is not damaged.
      expect(await store.correct(TOKENS, undefined, 5n, nowMs)).toBe(false)
    })

    test('what is held of a counter stays held when it is set', async () => {
      await load(TOKENS, 10n)
      await hold(TOKENS, 'a', 20n)
      expect(await store.correct(TOKENS, 30n, 25n, nowMs)).toBe(true)
      expect(await store.lookAt([TOKENS], nowMs)).toEqual([{ counter: TOKENS, usedMicro: 25n, heldMicro: 20n }])
      expect(await store.release(1, 'a', nowMs)).toBe(20n)
      expect(await store.lookAt([TOKENS], nowMs)).toEqual([{ counter: TOKENS, usedMicro: 5n, heldMicro: 0n }])
    })

    test.each(['x', '1e3', '1.5'])('one that holds no number ("%s") is told, and set as that', async (text) => {
      const other = { ...TOKENS, subject: 'other' }
      for (const counter of [TOKENS, other]) await load(counter, 10n)
      await hold(TOKENS, 'a', 20n)
      await opened.spoil(TOKENS, text)
      await expect(draw(TOKENS, 1n)).rejects.toMatchObject({ code: 'unavailable' })
      const damaged = { counter: TOKENS, usedMicro: undefined, heldMicro: 20n }
      expect(await store.lookAt([TOKENS], nowMs)).toEqual([damaged])
      expect(await listed()).toEqual(inOrder([damaged, { counter: other, usedMicro: 10n, heldMicro: 0n }]))
      expect(await store.correct(TOKENS, 10n, 3n, nowMs)).toBe(false)
      expect(await store.correct({ ...TOKENS, subject: 'gone' }, undefined, 3n, nowMs)).toBe(false)
      expect(await store.correct(TOKENS, undefined, 27n, nowMs)).toBe(true)
      await draw(TOKENS, 1n)
      expect(await used()).toBe(28n)
      expect(await store.correct(TOKENS, undefined, 5n, nowMs)).toBe(false)
    })

    test('no draw is lost, however corrections come between draws', async () => {
      const move = fc.record({ by: fc.bigInt(1n, 9n), correct: fc.boolean(), late: fc.boolean() })
      await fc.assert(
        fc.asyncProperty(fc.array(move, { minLength: 1, maxLength: 12 }), async (moves) => {
          const counter = { ...TOKENS, subject: `p-${made++}` }
          await load(counter, 1_000n)
          let [expected, seen] = [1_000n, 1_000n]
          const steps = moves.map(async ({ by, correct, late }) => {
            if (!correct) {
              expected += by
              await draw(counter, by)
            } else {
              if (!late) seen = (await used(counter)) ?? 0n
              if (await store.correct(counter, seen, seen - by, nowMs)) expected -= by
            }
          })
          await Promise.all(steps)
          expect(await used(counter)).toBe(expected)
        }),
        { numRuns: 20 },
      )
    })
  })
}
