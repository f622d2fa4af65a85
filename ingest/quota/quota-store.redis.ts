import type { Logger } from 'pino'
import type { TenantId } from '../../schemas/http/door.ts'
import { createRedisCounterAdmin } from './counter-admin.redis.ts'
import { livesMs } from './counter-life.ts'
import { gatherDraws } from './gathered-draws.ts'
import { HELD_DRAW_SCRIPT } from './held-draws.lua.ts'
import { LOAD_SCRIPT, MEMORY_SCRIPT } from './holds.lua.ts'
import { createRedisHolds, heldKey, holdKey, holdsKey } from './holds.redis.ts'
import { atLeastZero } from './lesser.ts'
import type { RedisClient } from './open.redis.ts'
import { counterKey, type QuotaRequest, requestOf } from './quota-request.ts'
import { DRAW_SCRIPT, GIVE_BACK_SCRIPT } from './quota-script.lua.ts'
import { decide, type QuotaDecision, type QuotaDraw, type QuotaItem, type QuotaStore } from './quota-store.ts'
import { fullestOf } from './rolling.ts'
import { isRefusal, orUnavailable, runScript, scriptOf } from './run-script.redis.ts'

export { openRedis, type RedisClient, redisReady } from './open.redis.ts'

type DrawReply = [missing: number[], states: string, before: string, fromHolds?: string[]]

const DRAW = scriptOf(DRAW_SCRIPT)
const HELD_DRAW = scriptOf(HELD_DRAW_SCRIPT)
const GIVE_BACK = scriptOf(GIVE_BACK_SCRIPT)
const LOAD = scriptOf(LOAD_SCRIPT)
const MEMORY = scriptOf(MEMORY_SCRIPT)

/**
 * Counters in Redis: one round trip and one script for a request, or for several of a tenant that come together
 * (gathered-draws.ts, decision 0016). HC-5's `quota:{user_id}` with a TTL of 24 h is here:
 *
 *   quota:{<tenant>}:used:<startMs>-<endMs>:<meter>:<subject>   micro-units as a decimal text, 24 h after the last draw;
 *                                             <meter>@customer:<id> for those that subjects of a customer share,
 *                                             <meter>@rolling for buckets, whose life is shorter if they are short
 *   quota:{<tenant>}:seen:<digits of a time>  a set of identities (or 128 bits of the SHA-256 of a long one) whose ids
 *                                             begin with that time; 15 minutes after the last one
 *   quota:{<tenant>}:seen:new, …:seen:old     sets of the others: see quota-marks.ts
 *   quota:since                               when the server began to remember, without an end; of a cluster, where a
 *                                             node may lose what it has alone, quota:{<tenant>}:since
 *   quota:{<tenant>}:holds, …:hold:<id>, …:held:<counter>   see holds.redis.ts
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
  const { ofTenant, ...holds } = createRedisHolds(client)
  const drawTogether = gatherDraws(async (items, nowMs, enforce) => {
    const request = requestOf(items, nowMs)
    ofTenant(request.counters[0]?.tenant)
    const args = [...request.args, enforce ? '1' : '0']
    const answer = items.some(({ hold }) => hold !== undefined)
      ? await runScript(client, HELD_DRAW, ...withHolds(items, request, args))
      : await runScript(client, DRAW, request.keys, args)
    const [missing, states, before, fromHolds = []] = answer as DrawReply
    if (missing.length > 0) return { missing: missing.flatMap((place) => request.counters[place - 1] ?? []) }
    return { decisions: decisionsOf(items, request, { states, before, fromHolds }, enforce) }
  }, isOfOne)
  return {
    ...holds,
    ...createRedisCounterAdmin(client),
    draw: async (items, nowMs, enforce) =>
      items.length === 0 ? { decisions: [] } : drawTogether(items, nowMs, enforce),
    giveBack: async (items) => {
      if (items.length === 0) return
      const { keys, args } = requestOf(items, now())
      // Not tried again later: by then the same event may have been sent again and taken for its mark's sake.
      await runScript(client, GIVE_BACK, keys, args).catch((error: unknown) =>
        logger.warn({ error, events: items.length }, 'draws of events that were not kept stay in their quota'),
      )
    },
    load: async (uses, _nowMs, since = '') => {
      const [first] = uses
      if (!first) return
      const keys = uses.flatMap(({ counter }) => [counterKey(counter), heldKey(counter)])
      // Below zero a counter would admit more than its limit.
      const args = uses.flatMap(({ counter, usedMicro }) => [
        usedMicro > 0n ? String(usedMicro) : '0',
        String(livesMs(counter) / 1_000),
      ])
      await runScript(client, LOAD, [...keys, sinceKey(client, first.counter.tenant)], [...args, since])
    },
    memory: async (tenant) => {
      const answer = await runScript(client, MEMORY, [sinceKey(client, tenant)], [])
      const [since, forMs] = answer as [since: string, forMs: number]
      return { since, forMs }
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

function sinceKey(client: RedisClient, tenant: TenantId): string {
  return client.isCluster ? `quota:{${tenant}}:since` : 'quota:since'
}

/** What cannot be asked, or what the script refused: it checks everything before it writes, so nothing was drawn. */
function isOfOne(error: unknown): boolean {
  return error instanceof RangeError || isRefusal(error)
}

/** What HELD_DRAW_SCRIPT is given: the hold of each item beside the rest. */
function withHolds(
  items: readonly QuotaItem[],
  { counters, keys }: QuotaRequest,
  args: readonly string[],
): [keys: string[], args: string[]] {
  const tenant = counters[0]?.tenant ?? 0
  const places = new Map<string, number>()
  const placeOf = (hold: string) => {
    const place = places.get(hold) ?? places.size + 1
    places.set(hold, place)
    return place
  }
  const holdOf = items.map(({ hold }) => (hold === undefined ? 0 : placeOf(hold)))
  const holds = [...places.keys()].map((id) => holdKey(tenant, id))
  return [
    [...keys, ...holds, holdsKey(tenant)],
    [...args, JSON.stringify(holdOf), String(holds.length)],
  ]
}

/** Repeats the script's steps from the counters it began with, for what remained after each item. */
function decisionsOf(
  items: readonly QuotaItem[],
  { drawsFor }: QuotaRequest,
  { states, before, fromHolds }: { states: string; before: string; fromHolds: readonly string[] },
  enforce: boolean,
): QuotaDecision[] {
  const used = before.split(' ').map(BigInt)
  let first = 0
  let firstHeld = 0
  const usedBy = (_draw: QuotaDraw, place: number) => {
    const limit = drawsFor[first + place]
    if (limit?.places) return fullestOf(limit.places, (counter) => used[counter] ?? 0n)
    return used[limit?.counter.place ?? -1] ?? 0n
  }
  return items.map((item, index) => {
    const state = states[index]
    const seen = state === 's'
    const takes = item.hold === undefined ? undefined : seen ? [] : takesOf(fromHolds, firstHeld, item)
    firstHeld += takes?.length ?? 0
    const fromHold = takes?.map((take) => take.micro)
    const decision = decide(item, usedBy, seen, enforce, fromHold)
    // The script has already acted. If it did not follow the same rule, no answer to this request would be true.
    // The script knows of no soft limits: here it is known what was used before.
    const overSoft = decision.over && item.draws.some(({ softMicro }) => softMicro !== undefined)
    if (decision.taken !== (state !== 'n') || (decision.over !== (state === 'o') && !overSoft)) {
      throw new Error(`The quota script decided "${state}" where the rule decides ${JSON.stringify(decision.taken)}`)
    }
    let draw = 0
    for (const { micro } of item.draws) {
      if (!decision.drawn) break
      const counter = drawsFor[first + draw]?.counter.place ?? -1
      const take = takes?.[draw]
      used[counter] = (used[counter] ?? 0n) + micro
      const at = take?.at ?? counter
      // As the script does: a counter that was corrected may have less than what is held in it.
      if (take) used[at] = atLeastZero((used[at] ?? 0n) - take.micro)
      draw++
    }
    first += item.draws.length
    return decision
  })
}

/** What a draw took from its hold; `at`: the place of another counter, where that was held. */
type Take = { micro: bigint; at: number | undefined }

function takesOf(fromHolds: readonly string[], first: number, { draws }: QuotaItem): Take[] {
  return fromHolds.slice(first, first + draws.length).map((text) => {
    const [micro = '0', place] = text.split('@')
    return { micro: BigInt(micro), at: place === undefined ? undefined : Number(place) - 1 }
  })
}
