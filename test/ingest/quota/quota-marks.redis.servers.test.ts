import fc from 'fast-check'
import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createRedisQuotaStore, openRedis, redisReady } from '../../../ingest/quota/quota-store.redis.ts'
import type { CounterKey, QuotaItem, QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { newCounter } from '../../contract/quota-store.extremes.ts'
import { passTime, type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'
import { ulid, uuid } from './ids.ts'

const MINUTE = 60_000
const NOW = Date.UTC(2026, 10, 20, 12)
const FAR = 10n ** 20n

/** design.md §2.3, decision 0008: the id set suppresses a second decrement, for 15 minutes, and nothing else. */
describe.each([false, true])('marks (cluster: %s)', (cluster) => {
  let server: RedisServer
  let store: QuotaStore
  let nowMs: number
  let counter: CounterKey

  beforeAll(async () => {
    server = await startRedis({ cluster })
    const client = openRedis(server.url)
    await redisReady(client, server.url)
    const clock = () => nowMs
    nowMs = NOW
    store = passTime(createRedisQuotaStore(client, pino({ level: 'silent' }), clock), server.admin, clock)
  })
  afterAll(async () => {
    await store?.close()
    await server?.close()
  })
  const startAnew = async () => {
    await server.admin.flushall()
    nowMs = NOW
    counter = newCounter()
    await store.load([{ counter, usedMicro: 0n }], nowMs)
  }
  beforeEach(startAnew)

  const itemOf = (id: string, micro = 1n, limitMicro = FAR): QuotaItem => ({
    identity: `${counter.tenant}\nsource\n${id}`,
    draws: [{ counter, micro, limitMicro }],
  })
  /** Whether each of the ids drew, by a process whose clock is so much off. */
  const drew = async (ids: readonly string[], offMs = 0): Promise<boolean[]> => {
    const items = ids.map((id) => itemOf(id))
    const answer = await store.draw(items, nowMs + offMs, true)
    if ('missing' in answer) throw new Error('missing')
    return answer.decisions.map(({ drawn }) => drawn)
  }
  const used = () => server.admin.get(`quota:{${counter.tenant}}:used:0-86400000:calls:alice`)
  const sets = async () => (await server.admin.keys('*:seen:*')).map((key) => key.replace(/^.*:seen:/, '')).sort()

  test('each stands for a quarter of an hour, whatever its id, whatever comes after it and whoever asks', async () => {
    const kind = fc.constantFrom('uuid', 'ulid', 'opaque')
    const step = fc.record({
      pauseMinutes: fc.constantFrom(0, 0.5, 4, 9, 14.9),
      offMinutes: fc.integer({ min: -3, max: 3 }),
      made: fc.array(fc.record({ kind, ageMinutes: fc.constantFrom(0, 1, -14, 14, 20, 200) }), { maxLength: 4 }),
      again: fc.array(fc.nat(20), { maxLength: 6 }),
    })
    let resent = 0
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
        await startAnew()
        const drawnAt = new Map<string, number>()
        for (const { pauseMinutes, offMinutes, made, again } of steps) {
          nowMs += pauseMinutes * MINUTE
          const fresh = made.map((one, place) => {
            if (one.kind === 'opaque') return `order-${drawnAt.size}-${place}`
            return (one.kind === 'uuid' ? uuid : ulid)(-one.ageMinutes, nowMs)
          })
          const known = [...drawnAt.keys()]
          const ids = [...again.flatMap((place) => known[place] ?? []), ...fresh]
          if (ids.length === 0) continue
          const answers = await drew(ids, offMinutes * MINUTE)
          for (const [place, id] of ids.entries()) {
            const ageMinutes = (nowMs - (drawnAt.get(id) ?? -Infinity)) / MINUTE
            if (ageMinutes < 15) {
              resent++
              expect(answers[place]).toBe(false)
            }
            // A set takes marks for half an hour, and goes a quarter of an hour after the last one.
            if (ageMinutes > 55) expect(answers[place]).toBe(true)
            if (answers[place]) drawnAt.set(id, nowMs)
          }
        }
      }),
      { numRuns: 150 },
    )
    expect(resent).toBeGreaterThan(100)
  })

  test.each([
    ['UUIDv7', (minute: number) => uuid(0, NOW + minute * MINUTE)],
    ['ULID', (minute: number) => ulid(0, NOW + minute * MINUTE)],
    ['opaque id', (minute: number) => `order-${minute}`],
  ])('under steady traffic none falls out between two sets: %s', async (_kind, idAt) => {
    const ids: string[] = []
    for (let minute = 0; minute < 100; minute++) {
      nowMs = NOW + minute * MINUTE
      ids.push(idAt(minute))
      expect(await drew(ids.slice(-15))).toEqual(ids.slice(-15).map((id) => id === ids.at(-1)))
    }
    expect((await sets()).length).toBeLessThan(80)
  })

  test('of opaque ids there are two sets, and the older one goes when the next begins', async () => {
    expect(await drew(['a'])).toEqual([true])
    expect(await sets()).toEqual(['new'])
    nowMs += 15.5 * MINUTE
    expect(await drew(['b', 'a'])).toEqual([true, false])
    expect(await sets()).toEqual(['new', 'old'])
    nowMs += 15.4 * MINUTE
    expect(await drew(['c', 'b'])).toEqual([true, false])
    expect(await sets()).toEqual(['new', 'old'])
    expect(await drew(['a'])).toEqual([true])
    nowMs += 32 * MINUTE
    await store.ping()
    expect(await drew(['c'])).toEqual([true])
    expect(await sets()).toEqual(['new'])
  })

  /** An emitter whose clock stands still would otherwise fill one set until Redis is full, for all tenants. */
  test('ids that all begin with one time leave its set when that time is past', async () => {
    for (let minutes = 0; minutes < 120; minutes += 10) {
      nowMs = NOW + minutes * MINUTE
      const ids = [uuid(0, NOW), ulid(0, NOW)]
      expect(await drew(ids)).toEqual([true, true])
      expect(await drew(ids)).toEqual([false, false])
    }
    expect(await sets()).toEqual(['new', 'old'])
  })

  test('only what was taken has a mark', async () => {
    const limited = [itemOf(uuid(0, nowMs), 6n, 10n), itemOf(uuid(0, nowMs), 6n, 10n), itemOf('opaque', 6n, 10n)]
    const taken = async () => {
      const answer = await store.draw(limited, nowMs, true)
      return 'decisions' in answer && answer.decisions.map((one) => `${one.taken} ${one.drawn}`)
    }
    expect(await taken()).toEqual(['true true', 'false false', 'false false'])
    expect(await taken()).toEqual(['true false', 'false false', 'false false'])
    expect(await used()).toBe('6')
    expect(await sets()).toHaveLength(1)
  })

  test('an identity that stands twice in a request draws once, though both would fit', async () => {
    const [one, two] = [uuid(0, nowMs), ulid(0, nowMs)]
    expect(await drew([one, 'x', one, two, 'x', two])).toEqual([true, true, false, true, false, false])
    expect(await used()).toBe('3')
    expect(await drew([one, two, 'x', 'y'])).toEqual([false, false, false, true])
    expect(await used()).toBe('4')
  })

  test('what is given back loses its mark wherever it lies, once', async () => {
    const ids = [uuid(0, nowMs), uuid(-200, nowMs), ulid(0, nowMs), ulid(14, nowMs), 'opaque']
    await drew(ids)
    nowMs += 15.5 * MINUTE
    // Now some lie in the older set.
    await drew(['next'])
    const items = [...ids, ids[0]!].map((id) => itemOf(id))
    const stood = items.length - 1 - (await drew(ids)).filter((drawn) => drawn).length
    expect(stood).toBeGreaterThanOrEqual(2)
    expect(await used()).toBe(String(1 + ids.length + ids.length - stood))
    await store.giveBack(items)
    const left = await used()
    expect(Number(left)).toBe(1 + ids.length + ids.length - stood - ids.length)
    await store.giveBack(items)
    expect(await used()).toBe(left)
    expect(await drew(ids)).toEqual(ids.map(() => true))
  })

  test('identities of any length and script draw once', async () => {
    const ids = [
      '',
      'é',
      '漢字',
      '🛰',
      'x'.repeat(300),
      `${'x'.repeat(300)}y`,
      '\x00',
      '\x7f',
      ' ',
      '0',
      'é'.normalize('NFD'),
    ]
    for (const id of ids) expect([id, ...(await drew([id]))]).toEqual([id, true])
    expect(await drew(ids)).toEqual(ids.map(() => false))
    expect(await drew([...ids.toReversed(), 'other'])).toEqual([...ids.map(() => false), true])
    expect(await used()).toBe(String(ids.length + 1))
  })

  test('a full request of ids from everywhere draws once', async () => {
    const ids = Array.from({ length: 9_000 }, (_, place) => {
      const minutes = -(place % 50)
      return [uuid(minutes, nowMs), ulid(minutes, nowMs), `order-${place}`][place % 3]!
    })
    expect((await drew(ids)).filter((drawn) => !drawn)).toEqual([])
    expect((await drew(ids)).filter((drawn) => drawn)).toEqual([])
    expect(await used()).toBe('9000')
  })
})
