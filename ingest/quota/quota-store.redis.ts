import { createHash } from 'node:crypto'
import { ReplyError } from 'ioredis'
import type { Logger } from 'pino'
import { Problem } from '../../schemas/http/problem.ts'
import { gatherDraws } from './gathered-draws.ts'
import type { RedisClient } from './open.redis.ts'
import { counterKey, type QuotaRequest, requestOf } from './quota-request.ts'
import { COUNTER_TTL_S, DRAW_SCRIPT, GIVE_BACK_SCRIPT } from './quota-script.lua.ts'
import { decide, type QuotaDecision, type QuotaItem, type QuotaStore } from './quota-store.ts'

export { openRedis, type RedisClient, redisReady } from './open.redis.ts'

type Script = { text: string; sha: string }
type DrawReply = [missing: number[], states: string, before: string[]]

const DRAW = scriptOf(DRAW_SCRIPT)
const GIVE_BACK = scriptOf(GIVE_BACK_SCRIPT)

/**
 * Counters in Redis: one round trip and one script for a request, or for several of a tenant that come together
 * (gathered-draws.ts, decision 0016). HC-5's `quota:{user_id}` with a TTL of 24 h is here:
 *
 *   quota:{<tenant>}:used:<startMs>-<endMs>:<meter>:<subject>   micro-units as a decimal text, 24 h after the last draw
 *   quota:{<tenant>}:seen:<digits of a time>  a set of identities (or 128 bits of the SHA-256 of a long one) whose ids
 *                                             begin with that time; 15 minutes after the last one
 *   quota:{<tenant>}:seen:new, …:seen:old     sets of the others: see quota-marks.ts
 *
 * An identity stands in a set, for 15 minutes at least, only if its item was taken. The braces hold the tenant alone,
 * and a request belongs to one tenant: all its keys lie in one slot of a cluster. Counters are exact at any size.
 * Expiry follows the server's clock, which all ingest processes share. A command that was sent twice, because the
 * answer got lost, draws once and gives back once. Run Redis with `maxmemory-policy noeviction`: a full one then
 * refuses, and never forgets a mark whose counter it keeps; and with `lazyfree-lazy-expire yes`, so that a large set
 * that ends does not hold it up. Decision 0008 has the figures.
 *
 * The client belongs to the store from now on: `close` ends it.
 */
export function createRedisQuotaStore(client: RedisClient, logger: Logger, now = Date.now): QuotaStore {
  const drawTogether = gatherDraws(async (items, nowMs, enforce) => {
    const request = requestOf(items, nowMs)
    const args = [...request.args, enforce ? '1' : '0']
    const [missing, states, before] = (await run(client, DRAW, request.keys, args)) as DrawReply
    if (missing.length > 0) return { missing: missing.flatMap((place) => request.counters[place - 1] ?? []) }
    return { decisions: decisionsOf(items, request, states, before, enforce) }
  }, isOfOne)
  return {
    draw: async (items, nowMs, enforce) =>
      items.length === 0 ? { decisions: [] } : drawTogether(items, nowMs, enforce),
    giveBack: async (items) => {
      if (items.length === 0) return
      const { keys, args } = requestOf(items, now())
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

/** What cannot be asked, or what the script refused: it checks everything before it writes, so nothing was drawn. */
function isOfOne(error: unknown): boolean {
  return error instanceof RangeError || (error instanceof Problem && error.cause instanceof ReplyError)
}

function scriptOf(text: string): Script {
  return { text, sha: createHash('sha1').update(text).digest('hex') }
}

/** Repeats the script's steps from the counters it began with, for what remained after each item. */
function decisionsOf(
  items: readonly QuotaItem[],
  { drawsOn }: QuotaRequest,
  states: string,
  before: readonly string[],
  enforce: boolean,
): QuotaDecision[] {
  const used = before.map(BigInt)
  let first = 0
  const usedBy = (draw: number) => used[drawsOn[first + draw] ?? -1] ?? 0n
  return items.map((item, index) => {
    const state = states[index]
    const decision = decide(item, (_counter, draw) => usedBy(draw), state === 's', enforce)
    // The script has already acted. If it did not follow the same rule, no answer to this request would be true.
    if (decision.taken !== (state !== 'n') || decision.over !== (state === 'o')) {
      throw new Error(`The quota script decided "${state}" where the rule decides ${JSON.stringify(decision.taken)}`)
    }
    for (const { micro } of item.draws) {
      const counter = drawsOn[first++] ?? -1
      if (decision.drawn) used[counter] = (used[counter] ?? 0n) + micro
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
