import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createLmdbQuotaStore } from '../../../ingest/quota/quota-store.lmdb.ts'
import { createRedisQuotaStore, openRedis, redisReady } from '../../../ingest/quota/quota-store.redis.ts'
import type { CounterKey, QuotaItem, QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { openLmdb } from '../../../ops/embedded/lmdb.ts'
import { describeQuotaStoreExtremes, draw, item, newCounter } from '../../contract/quota-store.extremes.ts'
import { passTime, type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'
import { describeQuotaStore, type OpenQuotaStore } from '../../contract/quota-store.ts'
import { ulid, uuid } from './ids.ts'

const UNAVAILABLE = { name: 'Problem', code: 'unavailable', options: { retryAfterSeconds: 1 } }

async function openStore(url: string): Promise<QuotaStore> {
  const client = openRedis(url)
  await redisReady(client, url)
  return createRedisQuotaStore(client, logger)
}

const logged: string[] = []
const logger = pino({ level: 'warn' }, { write: (line: string) => void logged.push(line) })

async function openOnRedis(cluster: boolean): Promise<OpenQuotaStore> {
  const server = await startRedis({ cluster })
  const store = await openStore(server.url)
  return { store, close: () => store.close().then(server.close) }
}

async function openOnLmdb(): Promise<OpenQuotaStore> {
  const folder = mkdtempSync(join('/tmp', 'tallyline-quota-'))
  const lmdb = await openLmdb(join(folder, 'log'), join(folder, 'quota'))
  const store = createLmdbQuotaStore(lmdb.quota, Date.now)
  const close = async () => {
    await store.close()
    await lmdb.close()
    rmSync(folder, { recursive: true, force: true })
  }
  return { store, close }
}

describe.each([false, true])('on Redis (cluster: %s)', (cluster) => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis({ cluster })
  })
  afterAll(() => server?.close())

  describeQuotaStore('redis', async (now) => {
    await server.admin.flushall()
    const store = await openStore(server.url)
    return { store: passTime(store, server.admin, now), close: store.close }
  })
})

describeQuotaStoreExtremes('redis', () => openOnRedis(false))
describeQuotaStoreExtremes('redis cluster of one server', () => openOnRedis(true))
describeQuotaStoreExtremes('lmdb', openOnLmdb)

test('Redis and LMDB answer alike, whatever is asked', async () => {
  const [redis, lmdb] = await Promise.all([openOnRedis(false), openOnLmdb()])
  const micro = fc.oneof(
    fc.bigInt(0n, 20n),
    fc.constantFrom(14n, 15n, 16n, 28n, 29n, 30n).chain((d) => fc.bigInt(10n ** d - 5n, 10n ** d + 5n)),
    fc.bigInt(0n, 10n ** 32n),
  )
  const oneDraw = fc.record({ counter: fc.nat(2), micro, limit: micro })
  const oneItem = fc.record({ id: fc.nat(12), draws: fc.array(oneDraw, { minLength: 1, maxLength: 3 }) })
  const step = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ draw: fc.array(oneItem, { minLength: 1, maxLength: 6 }), enforce: fc.boolean() }),
    },
    { weight: 1, arbitrary: fc.record({ load: fc.nat(2), micro }) },
    { weight: 1, arbitrary: fc.record({ giveBack: fc.nat(5) }) },
  )
  // Their marks lie in sets of three kinds, and ids of one kind follow each other or do not.
  const ids = [0, 0, -1, -1].flatMap((minutes) => [uuid(minutes), ulid(minutes), `opaque-${minutes}`]).concat('last')
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 12 }), async (steps) => {
      const { tenant } = newCounter()
      const counters = ['a', 'b', 'c'].map((subject) => newCounter({ tenant, subject }))
      const drawn = new Map<string, QuotaItem>()
      const both = async <T>(ask: (store: QuotaStore) => Promise<T>): Promise<T> => {
        const [ofRedis, ofLmdb] = [await ask(redis.store), await ask(lmdb.store)]
        expect(ofRedis).toEqual(ofLmdb)
        return ofRedis
      }
      for (const one of steps) {
        if ('load' in one)
          await both((store) => store.load([{ counter: counters[one.load]!, usedMicro: one.micro }], Date.now()))
        else if ('giveBack' in one) {
          const back = [...drawn.values()].slice(0, one.giveBack)
          for (const { identity } of back) drawn.delete(identity)
          await both((store) => store.giveBack(back))
        } else {
          const items = one.draw.map(({ id, draws }) => ({
            identity: `${tenant}\nid\n${ids[id]}`,
            draws: draws.map((d) => draw(counters[d.counter]!, d.micro, d.limit)),
          }))
          const answer = await both((store) => store.draw(items, Date.now(), one.enforce))
          if ('missing' in answer) continue
          // Only what drew may be given back, and as it drew.
          for (const [index, { taken }] of answer.decisions.entries()) {
            const { identity } = items[index]!
            if (taken && !drawn.has(identity)) drawn.set(identity, items[index]!)
          }
        }
      }
    }),
    { numRuns: 400 },
  )
  await Promise.all([redis.close(), lmdb.close()])
})

describe('on a server', () => {
  let server: RedisServer
  let store: QuotaStore
  beforeAll(async () => {
    server = await startRedis()
  })
  afterAll(() => server?.close())
  beforeEach(async () => {
    await server.admin.flushall()
    store = await openStore(server.url)
  })
  afterEach(() => store?.close())

  const take = (counter: CounterKey, micro = 1n, limit = 1_000n, by = store) =>
    by.draw([item(draw(counter, micro, limit))], Date.now(), true)
  const loaded = async (micro = 0n) => {
    const counter = newCounter()
    await store.load([{ counter, usedMicro: micro }], Date.now())
    return counter
  }

  test('keys carry the tenant as hash tag and expire', async () => {
    const counter = await loaded()
    const { tenant } = counter
    await take(counter, 5n)
    for (const id of [uuid(0), ulid(0)]) {
      await store.draw([{ identity: `${tenant}\ns\n${id}`, draws: [draw(counter, 1n, 1_000n)] }], Date.now(), true)
    }
    const key = `quota:{${tenant}}:used:0-86400000:calls:alice`
    expect(await server.admin.get(key)).toBe('7')
    const ttlOf = async (pattern: string) => {
      const keys = (await server.admin.keys('*')).filter((one) =>
        new RegExp(`^quota:\\{${tenant}\\}:${pattern}$`).test(one),
      )
      expect(keys).toHaveLength(1)
      return server.admin.ttl(keys[0]!)
    }
    expect(await server.admin.dbsize()).toBe(4)
    for (const [pattern, seconds] of [
      ['used:.*', 86_400],
      ['seen:[0-9a-f]{8}-[0-9a-f]', 900],
      ['seen:[0-9A-HJKMNP-TV-Z]{7}', 900],
      ['seen:new', 1_860],
    ] as const) {
      const ttl = await ttlOf(pattern)
      expect(ttl).toBeGreaterThan(seconds - 10)
      expect(ttl).toBeLessThanOrEqual(seconds)
    }
  })

  test('a request is one command, however many items it has', async () => {
    const counter = await loaded()
    await take(counter)
    const monitor = await server.admin.duplicate().monitor()
    const commands: string[] = []
    monitor.on('monitor', (_at: string, args: string[], source: string) => {
      if (source !== 'lua') commands.push(args[0]!.toLowerCase())
    })
    const items = Array.from({ length: 100 }, () => item(draw(counter, 1n, 1_000n)))
    for (let request = 0; request < 10; request++) await store.draw(items, Date.now(), true)
    await store.giveBack(items)
    await server.admin.echo('end')
    while (!commands.includes('echo')) await sleep(5)
    monitor.disconnect()
    // The script for giving back is not known to the server yet: that once, EVAL follows.
    expect(commands).toEqual([...Array.from({ length: 10 }, () => 'evalsha'), 'evalsha', 'eval', 'echo'])
  })

  test('64 clients and 10,000 requests on one limit never overspend', async () => {
    const counter = await loaded()
    const stores = await Promise.all(Array.from({ length: 64 }, () => openStore(server.url)))
    const limit = 3_000_500_000n
    let [sent, taken] = [0, 0]
    await Promise.all(
      stores.map(async (mine, place) => {
        while (sent < 10_000) {
          sent++
          const one = [item(draw(counter, 1_000_000n, limit))]
          const answer = await mine.draw(one, Date.now(), true)
          if (!('decisions' in answer) || !answer.decisions[0]!.taken) continue
          taken++
          // Some are sent again, by another process: they draw nothing.
          if (sent % 5 === 0) await stores[(place + 1) % 64]!.draw(one, Date.now(), true)
        }
      }),
    )
    expect(sent).toBe(10_000)
    expect(taken).toBe(3_000)
    expect(await server.admin.get(`quota:{${counter.tenant}}:used:0-86400000:calls:alice`)).toBe('3000000000')
    await Promise.all(stores.map((mine) => mine.close()))
  })

  test('a storm with failed appends ends with what was kept', async () => {
    const counter = await loaded()
    const stores = await Promise.all(Array.from({ length: 16 }, () => openStore(server.url)))
    let kept = 0n
    await Promise.all(
      stores.map(async (mine) => {
        for (let request = 0; request < 50; request++) {
          const items = Array.from({ length: 10 }, (_, index) => item(draw(counter, BigInt(index), 15_000n)))
          const answer = await mine.draw(items, Date.now(), true)
          if (!('decisions' in answer)) throw new Error('missing')
          const taken = items.filter((_, index) => answer.decisions[index]!.taken)
          const failed = taken.filter((_, index) => (request + index) % 3 === 0)
          // A give-back whose answer got lost is sent again.
          for (let times = 0; times < 2; times++) await mine.giveBack(failed)
          for (const { draws } of taken) kept += draws[0]!.micro
          for (const { draws } of failed) kept -= draws[0]!.micro
        }
      }),
    )
    expect(kept).toBeGreaterThan(14_000n)
    expect(kept).toBeLessThanOrEqual(15_000n)
    expect(await server.admin.get(`quota:{${counter.tenant}}:used:0-86400000:calls:alice`)).toBe(String(kept))
    await Promise.all(stores.map((mine) => mine.close()))
  })

  test('after FLUSHALL counters are named, loaded and go on', async () => {
    const counter = await loaded()
    const before = item(draw(counter, 100n, 1_000n))
    await store.draw([before], Date.now(), true)
    await server.admin.flushall()
    expect(await take(counter)).toEqual({ missing: [counter] })
    await store.load([{ counter, usedMicro: 950n }], Date.now())
    // Its draw went with the flush: giving it back must not make room.
    await store.giveBack([before])
    expect(await take(counter, 51n)).toMatchObject({ decisions: [{ taken: false, remainingMicro: 50n }] })
    expect(await take(counter, 50n)).toMatchObject({ decisions: [{ taken: true, remainingMicro: 0n }] })
  })

  test('SCRIPT FLUSH costs one more command, once', async () => {
    const counter = await loaded()
    await take(counter)
    await server.admin.script('FLUSH')
    await server.admin.config('RESETSTAT')
    for (let request = 0; request < 3; request++) await take(counter)
    const stats = await server.admin.info('commandstats')
    expect(stats).toMatch(/cmdstat_evalsha:calls=3,/)
    expect(stats).toMatch(/cmdstat_eval:calls=1,/)
    expect(await take(counter)).toMatchObject({ decisions: [{ remainingMicro: 995n }] })
  })

  test('a counter that holds no number is refused loudly, and nothing is written', async () => {
    const [damaged, fine] = [newCounter(), newCounter()]
    const key = (tenant: number) => `quota:{${tenant}}:used:0-86400000:calls:alice`
    for (const value of ['-5', '1e3', '007', 'x', '']) {
      await server.admin.set(key(damaged.tenant), value)
      await expect(take(damaged)).rejects.toMatchObject({
        ...UNAVAILABLE,
        cause: { message: expect.stringContaining(`the counter ${key(damaged.tenant)} holds no natural number`) },
      })
    }
    expect(await server.admin.keys('*:seen:*')).toEqual([])
    await store.load([{ counter: fine, usedMicro: -5n }], Date.now())
    expect(await take(fine, 0n)).toMatchObject({ decisions: [{ remainingMicro: 1_000n }] })
  })

  test('mistakes of the caller are told from a store that is away', async () => {
    const [mine, other] = [await loaded(), await loaded()]
    await expect(store.draw([item(draw(mine, 1n, 9n)), item(draw(other, 1n, 9n))], 0, true)).rejects.toThrow(RangeError)
    await expect(store.draw([{ identity: 'x', draws: [] }], 0, true)).rejects.toThrow(RangeError)
    await expect(take(mine, -1n)).rejects.toThrow(RangeError)
    await expect(take(mine, 1n, -1n)).rejects.toThrow(RangeError)
  })

  /** One failed append used to turn a whole request, with all that was kept of it, into 503. */
  test('what cannot be given back is told, is no error, and stays drawn: the limit refuses early, never late', async () => {
    const counter = await loaded()
    const failed = item(draw(counter, 4n, 10n))
    await store.draw([failed], Date.now(), true)
    await server.admin.call('ACL', 'SETUSER', 'default', '-evalsha', '-eval')
    logged.splice(0)
    await store.giveBack([failed])
    await server.admin.call('ACL', 'SETUSER', 'default', '+evalsha', '+eval')
    expect(logged.join()).toContain('draws of events that were not kept stay in their quota')
    expect(await take(counter, 7n, 10n)).toMatchObject({ decisions: [{ taken: false, remainingMicro: 6n }] })
    // Sent again it is taken, and draws nothing.
    expect(await store.draw([failed], Date.now(), true)).toMatchObject({ decisions: [{ taken: true, drawn: false }] })
  })

  test('frozen: fails within the time-out; what arrived all the same is not drawn twice', async () => {
    const counter = await loaded()
    await take(counter)
    server.freeze()
    const late = [item(draw(counter, 100n, 1_000n))]
    const startedAt = Date.now()
    await expect(store.draw(late, Date.now(), true)).rejects.toMatchObject(UNAVAILABLE)
    await expect(store.load([{ counter, usedMicro: 0n }], Date.now())).rejects.toMatchObject(UNAVAILABLE)
    expect(Date.now() - startedAt).toBeLessThan(15_000)
    server.thaw()
    expect(await store.draw(late, Date.now(), true)).toMatchObject({
      decisions: [{ taken: true, over: false, remainingMicro: 899n }],
    })
  })
})

describe.each([false, true])('a server that goes away (cluster: %s)', (cluster) => {
  let server: RedisServer
  let store: QuotaStore
  beforeAll(async () => {
    server = await startRedis({ cluster })
    store = await openStore(server.url)
  })
  afterAll(async () => {
    await store?.close()
    await server?.close()
  })
  const take = (counter: CounterKey) => store.draw([item(draw(counter, 1n, 10n))], Date.now(), true)

  test('killed: fails fast, to be sent again; started anew, it goes on by itself', async () => {
    const counter = newCounter()
    await store.load([{ counter, usedMicro: 0n }], Date.now())
    await take(counter)
    await server.kill()
    for (let request = 0; request < 3; request++) {
      const startedAt = Date.now()
      await expect(take(counter)).rejects.toMatchObject(UNAVAILABLE)
      expect(Date.now() - startedAt).toBeLessThan(15_000)
    }
    await expect(store.ping()).rejects.toMatchObject(UNAVAILABLE)
    await store.giveBack([item(draw(counter, 1n, 10n))])
    // Long enough for the pauses between attempts to have grown.
    await sleep(2_000)
    await expect(take(counter)).rejects.toMatchObject(UNAVAILABLE)
    await server.start()
    const startedAt = Date.now()
    let answer = await take(counter).catch(() => undefined)
    while (!answer && Date.now() - startedAt < 10_000) {
      await sleep(50)
      answer = await take(counter).catch(() => undefined)
    }
    // Counters and scripts are gone with it: the counter is named, and the script is sent again.
    expect(answer).toEqual({ missing: [counter] })
    expect(Date.now() - startedAt).toBeLessThan(15_000)
    await store.load([{ counter, usedMicro: 4n }], Date.now())
    expect(await take(counter)).toMatchObject({ decisions: [{ taken: true, remainingMicro: 5n }] })
  })

  test('a restart during requests fails some, and draws none twice', async () => {
    const counter = newCounter()
    await store.load([{ counter, usedMicro: 0n }], Date.now())
    let ended = false
    const outcomes = { answered: 0, failed: 0 }
    const load = Promise.all(
      Array.from({ length: 8 }, async () => {
        while (!ended) {
          const answer = await take(counter).catch((error: unknown) => {
            expect(error).toMatchObject(UNAVAILABLE)
            return undefined
          })
          if (answer && 'missing' in answer)
            await store.load([{ counter, usedMicro: 0n }], Date.now()).catch(() => undefined)
          outcomes[answer ? 'answered' : 'failed']++
          if (!answer) await sleep(10)
        }
      }),
    )
    await sleep(200)
    await server.kill()
    await server.start()
    const before = outcomes.answered
    while (outcomes.answered < before + 100) await sleep(20)
    ended = true
    await load
    expect(await take(counter)).toMatchObject({ decisions: [{ taken: false, remainingMicro: 0n }] })
  })
})
