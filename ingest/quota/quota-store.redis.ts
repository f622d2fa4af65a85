import { createHash, hash } from 'node:crypto'
import type { Logger } from 'pino'
import { Problem } from '../../schemas/http/problem.ts'
import type { RedisClient } from './open.redis.ts'
import { COUNTER_TTL_S, DRAW_SCRIPT, GIVE_BACK_SCRIPT } from './quota-script.lua.ts'
import { type CounterKey, decide, type QuotaDecision, type QuotaItem, type QuotaStore } from './quota-store.ts'

export { openRedis, type RedisClient, redisReady } from './open.redis.ts'

type Script = { text: string; sha: string }
/** Places of counters are counted from 1, as Lua does. */
type Request = { counters: CounterKey[]; places: Map<CounterKey, number>; keys: string[]; args: string[] }
type DrawReply = [missing: number[], states: string, before: string[]]

const LARGE_IN_LUA = 10n ** 15n
const DRAW = scriptOf(DRAW_SCRIPT)
const GIVE_BACK = scriptOf(GIVE_BACK_SCRIPT)

/**
 * Counters in Redis: one round trip and one script per request. HC-5's `quota:{user_id}` with a TTL of 24 h is here:
 *
 *   quota:{<tenant>}:used:<startMs>-<endMs>:<meter>:<subject>   micro-units as a decimal text, 24 h after the last draw
 *   quota:{<tenant>}:seen:<identity, or 128 bits of its SHA-256>  empty, 15 minutes; there only if the item was taken
 *
 * The braces hold the tenant alone, and a request belongs to one tenant: all its keys lie in one slot of a cluster.
 * Counters are exact at any size. Expiry follows the server's clock, which all ingest processes share. A command that
 * was sent twice, because the answer got lost, draws once and gives back once. Run Redis with `maxmemory-policy
 * noeviction`: a full one then refuses, and never forgets a mark whose counter it keeps.
 *
 * The client belongs to the store from now on: `close` ends it.
 */
export function createRedisQuotaStore(client: RedisClient, logger: Logger): QuotaStore {
  return {
    draw: async (items, _nowMs, enforce) => {
      if (items.length === 0) return { decisions: [] }
      const request = requestOf(items)
      const args = [...request.args, enforce ? '1' : '0']
      const [missing, states, before] = (await run(client, DRAW, request.keys, args)) as DrawReply
      if (missing.length > 0) return { missing: missing.flatMap((place) => request.counters[place - 1] ?? []) }
      return { decisions: decisionsOf(items, request, states, before, enforce) }
    },
    giveBack: async (items) => {
      if (items.length === 0) return
      const { keys, args } = requestOf(items)
      // Not tried again later: by then the same event may have been sent again and taken for its mark's sake.
      await run(client, GIVE_BACK, keys, args).catch((error: unknown) =>
        logger.warn({ error, events: items.length }, 'draws of events that were not kept stay in their quota'),
      )
    },
    load: async (counter, usedMicro) => {
      // Below zero a counter would admit more than its limit.
      const used = usedMicro > 0n ? String(usedMicro) : '0'
      await orUnavailable(client.set(counterKey(counter), used, 'EX', COUNTER_TTL_S, 'NX'))
    },
    ping: async () => {
      await orUnavailable(client.ping())
    },
    close: async () => {
      if (client.status === 'end') return
      if (client.status === 'ready') await client.quit().catch(() => undefined)
      client.disconnect()
    },
  }
}

function scriptOf(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

function counterKey({ tenant, startMs, endMs, meter, subject }: CounterKey): string {
  return `quota:{${tenant}}:used:${startMs}-${endMs}:${meter}:${subject}`
}

/** Most identities are shorter than this, and a hash would cost more than their bytes do in 15 minutes. */
const LONGEST_PLAIN = 100

/** An identity holds line breaks and a hash does not: the two forms never meet. */
function seenKey(tenant: number, identity: string): string {
  const mark = identity.length <= LONGEST_PLAIN ? identity : hash('sha256', identity, 'base64url').slice(0, 22)
  return `quota:{${tenant}}:seen:${mark}`
}

/** What both scripts are given: see COMMON in quota-script.lua.ts. */
function requestOf(items: readonly QuotaItem[]): Request {
  const tenant = tenantOf(items)
  const counters: CounterKey[] = []
  const places = new Map<CounterKey, number>()
  const placeOfKey = new Map<string, number>()
  const placeOf = (counter: CounterKey): number => {
    const known = places.get(counter)
    if (known !== undefined) return known
    const key = counterKey(counter)
    const place = placeOfKey.get(key) ?? counters.push(counter)
    placeOfKey.set(key, place)
    places.set(counter, place)
    return place
  }
  const draws = items.map((item) =>
    item.draws.flatMap(({ counter, micro, limitMicro }) => [placeOf(counter), luaValue(micro), luaValue(limitMicro)]),
  )
  const keys = [...placeOfKey.keys(), ...items.map((item) => seenKey(tenant, item.identity))]
  return { counters, places, keys, args: [String(counters.length), JSON.stringify(draws)] }
}

/** Keys of two tenants may lie in two slots, where no script reaches both: such a request is a mistake of its caller. */
function tenantOf(items: readonly QuotaItem[]): number {
  const tenant = items[0]?.draws[0]?.counter.tenant
  const fine = items.every(({ draws }) => draws.length > 0 && draws.every(({ counter }) => counter.tenant === tenant))
  if (tenant === undefined || !fine) throw new RangeError('Items of one request draw, and on counters of one tenant')
  return tenant
}

/** Small values are numbers in Lua, which are exact that far; larger ones are texts. */
function luaValue(micro: bigint): number | string {
  if (micro < 0n) throw new RangeError(`A draw and a limit are not negative, and one is ${micro}`)
  return micro < LARGE_IN_LUA ? Number(micro) : String(micro)
}

/** Repeats the script's steps from the counters it began with, for what remained after each item. */
function decisionsOf(
  items: readonly QuotaItem[],
  { places }: Request,
  states: string,
  before: readonly string[],
  enforce: boolean,
): QuotaDecision[] {
  const used = before.map(BigInt)
  const placeOf = (counter: CounterKey) => (places.get(counter) ?? 0) - 1
  return items.map((item, index) => {
    const state = states[index]
    const decision = decide(item, (counter) => used[placeOf(counter)] ?? 0n, state === 's', enforce)
    // The script has already acted. If it did not follow the same rule, no answer to this request would be true.
    if (decision.taken !== (state !== 'n') || decision.over !== (state === 'o')) {
      throw new Error(`The quota script decided "${state}" where the rule decides ${JSON.stringify(decision.taken)}`)
    }
    if (state === 't' || state === 'o') {
      for (const { counter, micro } of item.draws) used[placeOf(counter)] = (used[placeOf(counter)] ?? 0n) + micro
    }
    return decision
  })
}

/** One round trip; a second one when the server has lost the script, which EVAL makes it remember. */
async function run(client: RedisClient, script: Script, keys: string[], args: string[]): Promise<unknown> {
  return orUnavailable(
    client.evalsha(script.sha, keys.length, ...keys, ...args).catch((error: unknown) => {
      if (!(error instanceof Error) || !error.message.startsWith('NOSCRIPT')) throw error
      return client.eval(script.text, keys.length, ...keys, ...args)
    }),
  )
}

/** Whatever Redis refuses or does not answer, the sender loses nothing by sending it again: marks prevent a second draw. */
async function orUnavailable<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer
  } catch (cause) {
    throw new Problem('unavailable', 'The quota store does not answer: try again', { retryAfterSeconds: 1, cause })
  }
}
