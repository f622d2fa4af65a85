import type { Pool } from 'pg'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { ConfigCache, TenantConfig } from '../../accept/config.ts'
import type { QuotaLimit } from '../limit.ts'
import type { CounterKey, QuotaStore } from '../quota-store.ts'
import { isRolling, windowsOf } from '../rolling.ts'
import { usedOfLimits } from '../used-of-limits.ts'
import { whenLoaded } from '../when-loaded.ts'
import type { AlertAnswer, Reached } from './alert.ts'
import { fireAlerts } from './fire.ts'
import { levelsOf, levelsReached } from './levels.ts'
import { nextShareOf, type Watched } from './watched.ts'

export type LookDeps = {
  pool: Pool
  config: Pick<ConfigCache, 'get'>
  quota: Pick<QuotaStore, 'read'>
  loadCounters: (counters: readonly CounterKey[]) => Promise<void>
  now: () => number
}

/**
 * Looks at counters of a tenant and tells of the levels that they have reached, as far as nobody told of them before;
 * answers these. What is held counts as used: nobody else can use it. After it each knows its next level.
 */
export async function lookAt(deps: LookDeps, tenant: TenantId, all: readonly Watched[]): Promise<AlertAnswer[]> {
  const config = await deps.config.get(tenant)
  // Windows are kept with the counter that they are of: not with one that is remembered for long.
  const counted = all.map(({ counter }) => {
    return { counter, windows: counter.rolling && windowsOf({ ...counter }, deps.now()) }
  })
  const { usedMicro } = await whenLoaded(deps.loadCounters, () => usedOfLimits(deps.quota, counted, deps.now()))
  const seen = all.map((watched, place) => {
    const limits = limitsOn(config, watched.counter, watched.limit.subject)
    return { watched, limits, reached: untoldReached(watched, limits, usedMicro[place] ?? 0n) }
  })
  const reached = seen.flatMap((one) => one.reached)
  const fired = reached.length === 0 ? [] : await fireAlerts(deps, tenant, reached)
  for (const { watched, limits, reached: told } of seen) {
    if (told.length > 0) watched.told = [...watched.told, ...told.map(({ limit, level }) => nameOf(limit, level))]
    const untold = limits.flatMap((limit) =>
      levelsOf(limit.limitMicro, limit.thresholds).filter((level) => !watched.told.includes(nameOf(limit, level))),
    )
    // A subject that lost its limits says nothing of those who share the counter: they draw, and it is looked at again.
    watched.nextShare = limits.length === 0 ? 0 : nextShareOf(watched.limit.limitMicro, untold)
  }
  return fired
}

/** The limits of a counter as they hold for a subject: all of them, not the least alone. */
export function limitsOn(config: TenantConfig, counter: CounterKey, subject: string): QuotaLimit[] {
  return config.limitsOf(subject).filter((limit) => {
    const isOfSame = limit.holder === counter.subject && (limit.ofCustomer ?? false) === (counter.ofCustomer ?? false)
    const isOfSameKind = isRolling(limit.window) === (counter.rolling ?? false)
    if (limit.meter !== counter.meter || !isOfSame || !isOfSameKind) return false
    const { startMs, endMs } = limit.windowAt(counter.startMs)
    return startMs === counter.startMs && endMs === counter.endMs
  })
}

/** What is reached and was not told, as far as this process knows. */
export function untoldReached(
  { counter, told }: Pick<Watched, 'counter' | 'told'>,
  limits: readonly QuotaLimit[],
  usedMicro: bigint,
): Reached[] {
  return limits.flatMap((limit) =>
    levelsReached(usedMicro, limit.limitMicro, limit.thresholds)
      .filter((level) => !told.includes(nameOf(limit, level)))
      .map((level) => ({ counter, limit, level, usedMicro })),
  )
}

function nameOf({ feature }: QuotaLimit, { text }: { text: string }): string {
  return `${feature} ${text}`
}
