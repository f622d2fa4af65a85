import type { QuotaLimit } from '../limit.ts'
import type { LimitDraw } from '../limit-draws.ts'
import { type CounterKey, counterId } from '../quota-store.ts'
import type { Level } from './levels.ts'

/** A counter, and the limits of a subject that are on it: the least, and the others. */
export type LimitedCounter = Pick<LimitDraw, 'counter' | 'limit' | 'others'>

/** What is remembered of a counter between draws. */
export type Watched = LimitedCounter & {
  id: string
  /** The share of its limit at which the next level lies: events below it need no look. */
  nextShare: number
  /** Levels that were told, by this process or another, as `<feature> <level>`. */
  told: readonly string[]
  /** By the process's own clock: not looked at again before. */
  notBeforeMs: number
  /** Looks that failed in a row. */
  failures: number
}

/** Room for what shares lose as numbers: a look too many costs little. */
const SHARE_MARGIN = 1e-9
/** How far beyond its limit a counter is, only a look says: any level beyond the limit counts as next to it. */
const USED_UP = 1

/** Where the next of the levels lies that were not told. */
export function nextShareOf(limitMicro: bigint, untold: readonly Pick<Level, 'micro'>[]): number {
  let next: bigint | undefined
  for (const { micro } of untold) if (next === undefined || micro < next) next = micro
  if (next === undefined) return Number.POSITIVE_INFINITY
  if (limitMicro === 0n) return USED_UP
  return Math.min(Number(next) / Number(limitMicro), USED_UP) - SHARE_MARGIN
}

/** The counters that were drawn on lately. One that was forgotten is only looked at once more. */
export type Memory = { of(one: LimitedCounter): Watched }

/** Whoever draws again draws with the same key mostly, for which nothing needs to be written. */
export function rememberCounters(most: number): Memory {
  const byKey = new WeakMap<CounterKey, Watched>()
  const byId = new Map<string, Watched>()
  const learn = ({ counter, limit, others }: LimitedCounter): Watched => {
    const id = counterId(counter)
    const known = byId.get(id)
    if (known) {
      // The configuration was read again, or another subject shares the counter: what was computed for other limits holds
      // no longer.
      if (!haveSameLevels([known.limit, ...known.others], [limit, ...others])) known.nextShare = 0
      known.limit = limit
      known.others = others
      byKey.set(counter, known)
      return known
    }
    // The draws' own bucket keeps its windows with it, as long as it lives: a dozen counters and more.
    const kept = counter.rolling ? { ...counter } : counter
    const fresh: Watched = {
      ...{ id, counter: kept, limit, others },
      ...{ nextShare: 0, told: [], notBeforeMs: 0, failures: 0 },
    }
    const [oldest] = byId.size >= most ? byId.keys() : []
    if (oldest !== undefined) byId.delete(oldest)
    byId.set(id, fresh)
    byKey.set(counter, fresh)
    return fresh
  }
  return { of: (one) => byKey.get(one.counter) ?? learn(one) }
}

function haveSameLevels(some: readonly QuotaLimit[], others: readonly QuotaLimit[]): boolean {
  return some.length === others.length && some.every((one, place) => levelsText(one) === levelsText(others[place]))
}

function levelsText(limit: QuotaLimit | undefined): string {
  if (!limit) return ''
  const levels = limit.thresholds.map((one) => ('micro' in one ? String(one.micro) : `${one.percent}%`))
  return [limit.feature, String(limit.limitMicro), ...levels].join(' ')
}
