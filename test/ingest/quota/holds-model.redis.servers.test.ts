import fc from 'fast-check'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { createRedisQuotaStore, openRedis, redisReady } from '../../../ingest/quota/quota-store.redis.ts'
import type { CounterKey, QuotaItem, QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { passTime, startRedis } from '../../contract/quota-store.redis-server.ts'
import { openEmbeddedLog } from '../../support/embedded-stores.ts'

const NOW = Date.UTC(2026, 10, 20, 12)
const DAY = { startMs: Date.UTC(2026, 10, 20), endMs: Date.UTC(2026, 10, 21) }
/** With the grace they end between two steps of the clock. */
const [LASTS_MS, STEP_MS] = [15_000, 10_000]

const micro = fc.oneof(
  { weight: 4, arbitrary: fc.bigInt(0n, 40n) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(14n, 15n, 16n, 28n, 30n).chain((d) => fc.bigInt(10n ** d - 5n, 10n ** d + 5n)),
  },
)
const limit = fc.constantFrom(60n, 100n, 10n ** 15n, 10n ** 30n)
const holdId = fc.constantFrom('a', 'b', 'c', 'd')
const drawn = fc.record({ counter: fc.nat(1), micro, limit })
const item = fc.record({
  id: fc.nat(15),
  hold: fc.option(holdId, { nil: undefined }),
  draws: fc.array(drawn, { minLength: 1, maxLength: 2 }),
})
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ draw: fc.array(item, { minLength: 1, maxLength: 4 }), enforce: fc.boolean() }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      hold: holdId,
      asked: micro.filter((one) => one > 0n),
      limits: fc.uniqueArray(fc.record({ counter: fc.nat(1), limit }), {
        minLength: 1,
        maxLength: 2,
        selector: (one) => one.counter,
      }),
      partly: fc.boolean(),
      enforce: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ release: holdId }) },
  { weight: 2, arbitrary: fc.record({ returned: holdId, micro: micro.filter((one) => one > 0n) }) },
  { weight: 1, arbitrary: fc.record({ giveBack: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ steps: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 1, arbitrary: fc.constant({ sweep: true } as const) },
)

/** ops/decisions/0020-holds.md: what is used is what was loaded and drawn, and what holds have left. */
test('Redis and LMDB answer alike, whatever is held, drawn and freed, and nothing is lost or made', async () => {
  const server = await startRedis()
  let nowMs = NOW
  const client = openRedis(server.url)
  await redisReady(client, server.url)
  const redis = passTime(createRedisQuotaStore(client, pino({ level: 'silent' })), server.admin, () => nowMs)
  const lmdb = await openEmbeddedLog(() => nowMs)
  let tenant = 0
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 14 }), async (steps) => {
      tenant++
      const counters = ['one', 'two'].map((subject): CounterKey => ({ tenant, subject, meter: 'm', ...DAY }))
      const counter = (place: number) => counters[place]!
      const both = async <T>(ask: (store: QuotaStore) => Promise<T>): Promise<T> => {
        const [ofRedis, ofLmdb] = [await ask(redis), await ask(lmdb.quota)]
        expect(ofRedis).toEqual(ofLmdb)
        return ofRedis
      }
      for (const key of counters) await both((store) => store.load([{ counter: key, usedMicro: 7n }], nowMs))
      const kept = new Map<string, QuotaItem>()
      for (const one of steps) {
        if ('release' in one) await both((store) => store.release(tenant, one.release, nowMs))
        else if ('returned' in one) await both((store) => store.returnUnused(tenant, one.returned, one.micro, nowMs))
        else if ('steps' in one) nowMs += one.steps * STEP_MS
        // How many end depends on whose tenants a process was asked about.
        else if ('sweep' in one) for (const store of [redis, lmdb.quota]) await store.sweepHolds(nowMs)
        else if ('giveBack' in one) {
          const back = [...kept.values()].slice(0, one.giveBack)
          for (const { identity } of back) kept.delete(identity)
          await both((store) => store.giveBack(back))
        } else if ('hold' in one) {
          const limits = one.limits.map((each) => ({ counter: counter(each.counter), limitMicro: each.limit }))
          const about = { tenant, subject: 's', meter: 'm', lastsMs: LASTS_MS }
          const request = { id: one.hold, ...about, askedMicro: one.asked, limits, partly: one.partly }
          await both((store) => store.hold(request, nowMs, one.enforce))
        } else {
          const items = one.draw.map(({ id, hold, draws }) => ({
            ...{ identity: `${tenant}\nid\n${id}`, hold },
            draws: draws.map((each) => ({ counter: counter(each.counter), micro: each.micro, limitMicro: each.limit })),
          }))
          const answer = await both((store) => store.draw(items, nowMs, one.enforce))
          if ('missing' in answer) throw new Error('missing')
          for (const [place, { drawn }] of answer.decisions.entries())
            if (drawn) kept.set(items[place]!.identity, items[place]!)
        }
        await both((store) => store.read(counters, nowMs))
      }
      // When all holds have ended, what was loaded and what events took is all there is.
      nowMs += 10 * STEP_MS
      for (const id of ['a', 'b', 'c', 'd']) await both((store) => store.release(tenant, id, nowMs))
      const sums = counters.map((key) =>
        [...kept.values()]
          .flatMap(({ draws }) => draws)
          .filter((each) => each.counter.subject === key.subject)
          .reduce((sum, each) => sum + each.micro, 7n),
      )
      expect(await both((store) => store.read(counters, nowMs))).toEqual({ usedMicro: sums })
    }),
    { numRuns: 150 },
  )
  await redis.close()
  await lmdb.close()
  await server.close()
})
