import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { livesMs } from './counter-life.ts'
import { gatherReads } from './gathered-reads.ts'
import { HOLD_SCRIPT, RELEASE_SCRIPT, SWEEP_SCRIPT } from './holds.lua.ts'
import {
  type CounterLimit,
  HOLD_GRACE_MS,
  type Hold,
  type HoldRequest,
  type HoldStore,
  MOST_SWEPT,
  tooManyHolds,
} from './holds.ts'
import type { RedisClient } from './open.redis.ts'
import { counterKey } from './quota-request.ts'
import { type CounterKey, countersOf } from './quota-store.ts'
import { isRefusal, orUnavailable, runScript, scriptOf } from './run-script.redis.ts'

const HOLD = scriptOf(HOLD_SCRIPT)
const RELEASE = scriptOf(RELEASE_SCRIPT)
const SWEEP = scriptOf(SWEEP_SCRIPT)

type StoredHold = [subject: string, meter: string, asked: string, granted: string, until: string, used: string]
type HoldReply = [missing: number[], stored: StoredHold | [], before: string[], tooMany?: 1]

export const holdsKey = (tenant: TenantId) => `quota:{${tenant}}:holds`
export const holdKey = (tenant: TenantId, id: string) => `quota:{${tenant}}:hold:${id}`
export const heldKey = (counter: CounterKey) => counterKey(counter).replace(':used:', ':held:')

/**
 * Holds in Redis, each operation one script and one round trip (holds.lua.ts):
 *
 *   quota:{<tenant>}:holds            the holds that live, by the server's time of their end
 *   quota:{<tenant>}:hold:<id>        what was granted, `counters`, JSON of their names, and `left:<counter>` for each of
 *                                     them, `returns` and `returned:<amount>`; 15 minutes after its end
 *   quota:{<tenant>}:held:<counter>   the sum of what holds have left of a counter, added to it when it is loaded
 */
export function createRedisHolds(client: RedisClient): HoldStore & { ofTenant(tenant: TenantId | undefined): void } {
  /** Who asked since the last sweep, and who has holds. */
  let tenants = new Set<TenantId>()
  const readAll = gatherReads((keys) => orUnavailable(client.mget(keys)))
  const release = async (tenant: TenantId, id: string, mostMicro: string): Promise<bigint> => {
    tenants.add(tenant)
    return BigInt(String(await runScript(client, RELEASE, [holdsKey(tenant), holdKey(tenant, id)], [mostMicro])))
  }
  const sweepTenant = async (tenant: TenantId): Promise<number> => {
    for (let all = 0; ; ) {
      const [ended, living] = (await runScript(client, SWEEP, [holdsKey(tenant)], [])) as [number, number]
      all += ended
      if (living > 0) tenants.add(tenant)
      if (ended < MOST_SWEPT) return all
    }
  }
  return {
    ofTenant: (tenant) => void (tenant === undefined || tenants.add(tenant)),
    hold: (request, ...rest) => {
      tenants.add(request.tenant)
      return grantHold(client, request, ...rest)
    },
    release: (tenant, id) => release(tenant, id, ''),
    returnUnused: (tenant, id, mostMicro) => release(tenant, id, String(mostMicro)),
    subjectOfHold: async (tenant, id) =>
      (await orUnavailable(client.hget(holdKey(tenant, id), 'subject'))) ?? undefined,
    read: async (counters) => {
      const tenant = counters[0]?.tenant
      if (tenant === undefined) return { usedMicro: [] }
      tenants.add(tenant)
      const texts = await readAll(tenant, counters.map(counterKey))
      const missing = counters.filter((_, place) => texts[place] === null)
      return missing.length > 0 ? { missing } : { usedMicro: texts.map(naturalOf) }
    },
    sweepHolds: async () => {
      const asked = tenants
      tenants = new Set()
      const failed: TenantId[] = []
      let all = 0
      let failure: unknown
      for (const tenant of asked) {
        try {
          // While Redis is away nobody else is asked about: each would wait as long as the one before.
          if (failure === undefined || isRefusal(failure)) all += await sweepTenant(tenant)
          else tenants.add(tenant)
        } catch (error) {
          failure = error
          failed.push(tenant)
        }
      }
      // Last: whatever it is that fails for one, in the next sweep the others come first.
      for (const tenant of failed) tenants.add(tenant)
      if (failed.length > 0) throw failure
      return all
    },
  }
}

async function grantHold(
  client: RedisClient,
  { tenant, id, limits, askedMicro, lastsMs, subject, meter, partly }: HoldRequest,
  nowMs: number,
  enforce: boolean,
): ReturnType<HoldStore['hold']> {
  const { counters, windows } = countersHeldOn(limits)
  const keys = [holdsKey(tenant), holdKey(tenant, id), ...counters.map(counterKey)]
  const how = !enforce ? 'always' : partly ? 'partly' : 'whole'
  const times = [String(lastsMs + HOLD_GRACE_MS), subject, meter, String(nowMs + lastsMs)]
  const ofLimits = limits.flatMap(({ counter, limitMicro }) => [String(limitMicro), String(livesMs(counter) / 1_000)])
  const args = [String(askedMicro), how, ...times, windows, ...ofLimits]
  const [missing, stored, before, tooMany] = (await runScript(client, HOLD, keys, args)) as HoldReply
  if (tooMany) throw tooManyHolds()
  if (missing.length > 0) return { missing: missing.flatMap((place) => counters[place - 1] ?? []) }
  const hold = stored.length === 0 ? undefined : holdOf(stored)
  return { hold, usedMicro: hold?.usedMicro ?? before.map(BigInt) }
}

/** The counters of limits, then those that their windows hold beside; and the windows, by the places of these from 1. */
function countersHeldOn(limits: readonly CounterLimit[]): { counters: readonly CounterKey[]; windows: string } {
  const heldOn = limits.map(({ counter }) => counter)
  if (limits.every((limit) => !limit.windows)) return { counters: heldOn, windows: '[]' }
  const byKey = new Map([...heldOn, ...limits.flatMap(countersOf)].map((counter) => [counterKey(counter), counter]))
  const places = new Map([...byKey.keys()].map((key, place) => [key, place + 1]))
  const placesOf = limits.map(({ windows = [] }) =>
    windows.map((window) => window.map((counter) => places.get(counterKey(counter)))),
  )
  return { counters: [...byKey.values()], windows: JSON.stringify(placesOf) }
}

function holdOf([subject, meter, asked, granted, until, used]: StoredHold): Hold {
  const [askedMicro, grantedMicro] = [BigInt(asked), BigInt(granted)]
  return {
    subject,
    meter,
    askedMicro,
    grantedMicro,
    expiresAtMs: Number(until),
    usedMicro: used.split(' ').map(BigInt),
  }
}

function naturalOf(text: string | null): bigint {
  if (text !== null && /^\d+$/.test(text)) return BigInt(text)
  throw new Problem('unavailable', 'A quota counter holds no natural number: remove it, and it is loaded anew')
}
