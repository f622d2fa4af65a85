import { Cluster, type Redis } from 'ioredis'
import type { TenantId } from '../../schemas/http/door.ts'
import { groupBy } from '../group-by.ts'
import { CORRECT_SCRIPT } from './counter-admin.lua.ts'
import { COUNTERS_A_PAGE, type CounterAdmin, counterNamed, type LivingCounter } from './counter-admin.ts'
import { livesMs } from './counter-life.ts'
import { heldKey } from './holds.redis.ts'
import type { RedisClient } from './open.redis.ts'
import { counterKey } from './quota-request.ts'
import type { CounterKey } from './quota-store.ts'
import { orUnavailable, runScript, scriptOf } from './run-script.redis.ts'

const CORRECT = scriptOf(CORRECT_SCRIPT)

/** A step of the walk over all keys, of which it is not known how many are counters: well below a millisecond. */
const KEYS_A_STEP = 1_000
const COUNTER_KEY = /^quota:\{(\d+)\}:used:(-?\d+)-(-?\d+):([^:]+):(.*)$/s
const NATURAL = /^(0|[1-9]\d*)$/

export function createRedisCounterAdmin(client: RedisClient): CounterAdmin {
  const lookAt = async (counters: readonly CounterKey[]): Promise<LivingCounter[]> => {
    const living: LivingCounter[] = []
    for (const page of pagesOf(counters)) {
      // Counter and hold in one command: both are of one moment.
      const keys = page.flatMap((counter) => [counterKey(counter), heldKey(counter)])
      const texts = await orUnavailable(client.mget(keys))
      page.forEach((counter, place) => {
        const used = texts[2 * place]
        if (typeof used !== 'string') return
        living.push({ counter, usedMicro: naturalOf(used), heldMicro: naturalOf(texts[2 * place + 1]) ?? 0n })
      })
    }
    return living
  }
  return {
    livingCounters: async function* (_nowMs, tenant) {
      for (const node of client instanceof Cluster ? client.nodes('master') : [client])
        for await (const counters of walk(node, tenant)) if (counters.length > 0) yield await lookAt(counters)
    },
    lookAt,
    correct: async (counter, fromMicro, toMicro) => {
      const livesS = String(livesMs(counter) / 1_000)
      const args = [fromMicro === undefined ? '' : String(fromMicro), String(toMicro), livesS]
      return (await runScript(client, CORRECT, [counterKey(counter)], args)) === 1
    },
  }
}

/** The counters among the keys of a server. One walk for all tenants: it passes by all keys whatever it looks for. */
async function* walk(node: Redis, tenant: TenantId | undefined): AsyncGenerator<CounterKey[]> {
  const pattern = `quota:{${tenant ?? '*'}}:used:*`
  let cursor = '0'
  do {
    const [next, keys] = await orUnavailable(node.scan(cursor, 'MATCH', pattern, 'COUNT', KEYS_A_STEP))
    cursor = next
    yield keys.flatMap((key) => counterOfKey(key) ?? [])
  } while (cursor !== '0')
}

/** Undefined for what only looks like the key of a counter. A subject may hold anything, so that it stands last. */
export function counterOfKey(key: string): CounterKey | undefined {
  const [, tenant, startMs, endMs, meter, subject] = COUNTER_KEY.exec(key) ?? []
  if (!tenant || !startMs || !endMs || !meter || subject === undefined) return undefined
  const counter = counterNamed(tenant, startMs, endMs, meter, subject)
  return counterKey(counter) === key ? counter : undefined
}

/** Each of one tenant, whose keys lie in one slot of a cluster, and no larger than a page. */
function pagesOf(counters: readonly CounterKey[]): CounterKey[][] {
  return [...groupBy(counters, ({ tenant }) => String(tenant)).values()].flatMap((ofTenant) =>
    Array.from({ length: Math.ceil(ofTenant.length / COUNTERS_A_PAGE) }, (_, page) =>
      ofTenant.slice(page * COUNTERS_A_PAGE, (page + 1) * COUNTERS_A_PAGE),
    ),
  )
}

function naturalOf(text: string | null | undefined): bigint | undefined {
  return typeof text === 'string' && NATURAL.test(text) ? BigInt(text) : undefined
}
