import { setTimeout as sleep } from 'node:timers/promises'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { counterKey } from '../../../ingest/quota/quota-request.ts'
import { createRedisQuotaStore, openRedis, redisReady } from '../../../ingest/quota/quota-store.redis.ts'
import type { CounterKey, QuotaStore } from '../../../ingest/quota/quota-store.ts'
import { describeCounters } from '../../contract/quota-store.counters.ts'
import { describeHoldBounds } from '../../contract/quota-store.hold-bounds.ts'
import { describeHolds, type OpenHoldStore } from '../../contract/quota-store.holds.ts'
import { passTime, type RedisServer, startRedis } from '../../contract/quota-store.redis-server.ts'

async function openStore(url: string): Promise<QuotaStore> {
  const client = openRedis(url)
  await redisReady(client, url)
  return createRedisQuotaStore(client, pino({ level: 'silent' }))
}

async function crowd({ admin }: RedisServer, tenant: number, holds: number): Promise<void> {
  const endsAt = Date.now() + 3_600_000
  for (let n = 0; n < holds; n += 10_000) {
    const some = Array.from({ length: Math.min(10_000, holds - n) }, (_, m) => [endsAt, `crowd-${n + m}`])
    await admin.zadd(`quota:{${tenant}}:holds`, ...some.flat())
  }
}

describe.each([false, true])('on Redis (cluster: %s)', (cluster) => {
  let server: RedisServer
  beforeAll(async () => {
    server = await startRedis({ cluster })
  })
  afterAll(() => server?.close())

  const openHolds = async (now: () => number): Promise<OpenHoldStore> => {
    await server.admin.flushall()
    const store = await openStore(server.url)
    const others: QuotaStore[] = []
    return {
      store: passTime(store, server.admin, now),
      another: async () => {
        const other = await openStore(server.url)
        others.push(other)
        return other
      },
      lose: async ({ tenant, subject, meter, startMs, endMs }) => {
        await server.admin.del(`quota:{${tenant}}:used:${startMs}-${endMs}:${meter}:${subject}`)
      },
      spoil: async (counter, text) => void (await server.admin.set(counterKey(counter), text)),
      flush: async () => void (await server.admin.flushall()),
      crowd: (tenant, holds) => crowd(server, tenant, holds),
      sizeOf: (tenant, id) => server.admin.hlen(`quota:{${tenant}}:hold:${id}`),
      close: async () => {
        await Promise.all([store, ...others].map((one) => one.close()))
      },
    }
  }
  describeHolds('redis', openHolds)
  describeHoldBounds('redis', openHolds)
  describeCounters('redis', openHolds)
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
    await store.load([{ counter: CALLS, usedMicro: 0n }], Date.now())
  })
  afterEach(() => store?.close())

  const CALLS: CounterKey = { tenant: 7, subject: 'alice', meter: 'calls', startMs: 0, endMs: 86_400_000 }
  const hold = (id: string, askedMicro: bigint, lastsMs = 60_000) => {
    const limits = [{ counter: CALLS, limitMicro: 100n }]
    const request = { id, tenant: 7, subject: 'alice', meter: 'calls', askedMicro, limits, partly: false, lastsMs }
    return store.hold(request, Date.now(), true)
  }
  const draw = (holdId: string) => {
    const item = {
      identity: `7\ntest\n${holdId}`,
      hold: holdId,
      draws: [{ counter: CALLS, micro: 5n, limitMicro: 100n }],
    }
    return store.draw([item], Date.now(), true)
  }

  test('keys carry the tenant as hash tag, and all of them end by themselves', async () => {
    await hold('a', 60n)
    await hold('b', 10n)
    await draw('a')
    await store.release(7, 'b', Date.now())
    const ttls = new Map<string, number>()
    for (const key of await server.admin.keys('*')) ttls.set(key, await server.admin.ttl(key))
    const [hour, counter] = [3_600, '0-86400000:calls:alice']
    const between = (from: number, to: number) => (ttl: number | undefined) =>
      ttl !== undefined && ttl > from && ttl <= to
    expect([...ttls.keys()].sort()).toEqual([
      ...[`quota:{7}:held:${counter}`, 'quota:{7}:hold:a', 'quota:{7}:hold:b', 'quota:{7}:holds'],
      ...['quota:{7}:seen:new', `quota:{7}:used:${counter}`],
    ])
    // What lives outlives a counter that nobody uses; what has ended is remembered for a quarter of an hour.
    expect(ttls.get('quota:{7}:hold:a')).toSatisfy(between(25 * hour, 26 * hour))
    expect(ttls.get('quota:{7}:holds')).toSatisfy(between(24 * hour, 25 * hour))
    expect(ttls.get(`quota:{7}:held:${counter}`)).toSatisfy(between(24 * hour, 25 * hour))
    expect(ttls.get('quota:{7}:hold:b')).toSatisfy(between(880, 900))
  })

  test('every operation is one command', async () => {
    const run = async () => {
      await hold('a', 60n)
      await draw('a')
      await store.returnUnused(7, 'a', 5n, Date.now())
      await store.release(7, 'a', Date.now())
      await store.read([CALLS], Date.now())
      await store.sweepHolds(Date.now())
    }
    // The first time the server learns the scripts.
    await run()
    await server.admin.flushall()
    await store.load([{ counter: CALLS, usedMicro: 0n }], Date.now())
    const monitor = await server.admin.duplicate().monitor()
    const commands: string[] = []
    monitor.on('monitor', (_at: string, args: string[], source: string) => {
      if (source !== 'lua') commands.push(args[0]!.toLowerCase())
    })
    await run()
    await server.admin.echo('end')
    while (!commands.includes('echo')) await sleep(5)
    monitor.disconnect()
    expect(commands).toEqual(['evalsha', 'evalsha', 'evalsha', 'evalsha', 'mget', 'evalsha', 'echo'])
  })

  test('a counter that holds no number is refused loudly, and stops neither other holds nor their ends', async () => {
    const other = { ...CALLS, subject: 'bob' }
    await store.load([{ counter: other, usedMicro: 0n }], Date.now())
    await hold('a', 60n, -10_000)
    await server.admin.set('quota:{7}:used:0-86400000:calls:alice', '-5')
    const refused = { name: 'Problem', code: 'unavailable' }
    await expect(hold('b', 1n)).rejects.toMatchObject(refused)
    await expect(draw('a')).rejects.toMatchObject(refused)
    await expect(store.read([CALLS], Date.now())).rejects.toMatchObject(refused)
    expect(await server.admin.keys('*:seen:*')).toEqual([])
    expect(await server.admin.exists('quota:{7}:hold:b')).toBe(0)
    expect(await store.sweepHolds(Date.now())).toBe(1)
    expect(await server.admin.get('quota:{7}:used:0-86400000:calls:alice')).toBe('-5')
    expect(await store.read([other], Date.now())).toEqual({ usedMicro: [0n] })
  })

  test('a hold that is damaged is none: it gives back nothing and stops neither draws nor other holds', async () => {
    const key = (id: string) => `quota:{7}:hold:${id}`
    const left = 'left:0-86400000:calls:alice'
    const damages: Record<string, () => Promise<unknown>> = {
      type: () => server.admin.set(key('type'), 'x'),
      number: () => server.admin.hset(key('number'), left, '-5'),
      field: () => server.admin.hdel(key('field'), left),
      names: () => server.admin.hset(key('names'), 'counters', '7'),
      gone: () => server.admin.del(key('gone')),
    }
    for (const [id, damage] of Object.entries(damages)) {
      await hold(id, 5n, -10_000)
      await damage()
      await server.admin.zadd('quota:{7}:holds', Date.now() + 60_000, id)
    }
    await hold('sound', 5n)
    expect(await draw('type')).toMatchObject({ decisions: [{ taken: true, over: false, remainingMicro: 65n }] })
    expect(await store.returnUnused(7, 'number', 3n, Date.now())).toBe(0n)
    expect(await store.release(7, 'field', Date.now())).toBe(0n)
    for (const id of await server.admin.zrange('quota:{7}:holds', '0', '-1'))
      await server.admin.zadd('quota:{7}:holds', 1, id)
    expect(await store.sweepHolds(Date.now())).toBe(4)
    expect(await server.admin.exists('quota:{7}:holds')).toBe(0)
    expect(await store.read([CALLS], Date.now())).toEqual({ usedMicro: [30n] })
    expect(await hold('next', 70n)).toMatchObject({ hold: { grantedMicro: 70n } })
  })

  test.each(['-5', 'many'])('a counter is loaded though the sum of what is held is damaged: %s', async (sum) => {
    await hold('a', 60n)
    const counter = '0-86400000:calls:alice'
    const load = async () => {
      await server.admin.del(`quota:{7}:used:${counter}`)
      await store.load([{ counter: CALLS, usedMicro: 10n }], Date.now())
      return store.read([CALLS], Date.now())
    }
    expect(await load()).toEqual({ usedMicro: [70n] })
    await server.admin.set(`quota:{7}:held:${counter}`, sum)
    expect(await load()).toEqual({ usedMicro: [10n] })
    await server.admin.del(`quota:{7}:held:${counter}`)
    await server.admin.lpush(`quota:{7}:held:${counter}`, sum)
    expect(await load()).toEqual({ usedMicro: [10n] })
  })

  test('a server whose memory is full grants nothing, and still ends holds', async () => {
    await hold('a', 60n)
    await hold('b', 5n, -10_000)
    await server.admin.config('SET', 'maxmemory', '1')
    expect(await store.sweepHolds(Date.now())).toBe(1)
    await expect(hold('c', 1n)).rejects.toMatchObject({ code: 'unavailable' })
    await expect(draw('a')).rejects.toMatchObject({ code: 'unavailable' })
    expect(await store.release(7, 'a', Date.now())).toBe(60n)
    expect(await store.read([CALLS], Date.now())).toEqual({ usedMicro: [0n] })
    await server.admin.config('SET', 'maxmemory', '0')
    expect(await hold('c', 100n)).toMatchObject({ hold: { grantedMicro: 100n } })
  })

  test('a tenant whose holds cannot be swept stops those of others neither once nor for ever', async () => {
    const tenants = [7, 8, 9]
    const counters = tenants.map((tenant) => ({ ...CALLS, tenant }))
    for (const counter of counters) await store.load([{ counter, usedMicro: 0n }], Date.now())
    await server.admin.set('quota:{7}:holds', 'no set')
    for (let turn = 0; turn < 3; turn++) {
      for (const counter of counters) {
        const limits = [{ counter, limitMicro: 100n }]
        const about = { subject: 'alice', meter: 'calls', askedMicro: 60n, limits, partly: false, lastsMs: -10_000 }
        const { tenant } = counter
        if (tenant > 7) await store.hold({ id: `a-${turn}`, tenant, ...about }, Date.now(), true)
        else await store.read([counter], Date.now())
      }
      await expect(store.sweepHolds(Date.now())).rejects.toMatchObject({ code: 'unavailable' })
      for (const counter of counters) expect(await store.read([counter], Date.now())).toEqual({ usedMicro: [0n] })
    }
    await server.admin.del('quota:{7}:holds')
    await hold('b', 60n, -10_000)
    expect(await store.sweepHolds(Date.now())).toBe(1)
  })

  test('a process that never held anything ends what others left, once it is asked about the tenant', async () => {
    await hold('a', 60n, -10_000)
    const other = await openStore(server.url)
    expect(await other.sweepHolds(Date.now())).toBe(0)
    await other.read([CALLS], Date.now())
    expect(await other.sweepHolds(Date.now())).toBe(1)
    expect(await store.read([CALLS], Date.now())).toEqual({ usedMicro: [0n] })
    await other.close()
  })

  test('a server that is away fails each operation, to be tried again', async () => {
    await server.kill()
    const away = { name: 'Problem', code: 'unavailable', options: { retryAfterSeconds: 1 } }
    await expect(hold('a', 1n)).rejects.toMatchObject(away)
    await expect(store.release(7, 'a', Date.now())).rejects.toMatchObject(away)
    await expect(store.read([CALLS], Date.now())).rejects.toMatchObject(away)
    await expect(store.subjectOfHold(7, 'a')).rejects.toMatchObject(away)
    await expect(store.sweepHolds(Date.now())).rejects.toMatchObject(away)
    await server.start()
    // The tenant is not forgotten.
    await expect.poll(() => store.sweepHolds(Date.now()).catch(() => 'away'), { timeout: 20_000 }).toBe(0)
  })
})
