import { setTimeout as sleep } from 'node:timers/promises'
import { Problem } from '../../schemas/http/problem.ts'
import type { LimitDraw } from '../quota/limit-draws.ts'
import type { CounterKey, QuotaDecision, QuotaItem, QuotaStore } from '../quota/quota-store.ts'
import { whenLoaded } from '../quota/when-loaded.ts'
import type { Prepared } from './prepare.ts'

export type DrawDeps = {
  quota: QuotaStore
  loadCounters: (counters: readonly CounterKey[]) => Promise<void>
  /** False: events beyond a limit are recorded and flagged, not refused. */
  enforceQuota: boolean
  now: () => number
}

/** `away`: the counters could not be asked, and the limits' policy decided. */
export type Decision = QuotaDecision & { away?: true }
/** In the order of the events; undefined for those without a limit. */
export type Decisions = readonly (Decision | undefined)[]

/** Events whose limits are all open wait no longer than this for counters that are away or not loaded. */
const OPEN_WAITS_MS = 1_000

/** Draws the quotas of all events in one round trip. */
export async function drawQuotas(deps: DrawDeps, events: readonly Prepared[]): Promise<Decisions> {
  const items = events.filter(({ draws }) => draws.length > 0)
  if (items.length === 0) return []
  const decisions = await decisionsFor(deps, items)
  if (items.length === events.length) return decisions
  let next = 0
  return events.map(({ draws }) => (draws.length > 0 ? decisions[next++] : undefined))
}

/**
 * While the counters are away, open events go on uncounted (they are usage like any, and a counter that is loaded or
 * reconciled later has them), and events with a closed limit are to be sent again. Without open ones the request fails.
 */
async function decisionsFor(deps: DrawDeps, items: readonly Prepared[]): Promise<Decisions> {
  const isOpen = ({ draws }: Prepared) => !deps.enforceQuota || draws.every(isOpenDraw)
  const ask = (asked: readonly QuotaItem[]) => deps.quota.draw(asked, deps.now(), deps.enforceQuota)
  if (!items.some(isOpen)) return (await whenLoaded(deps.loadCounters, () => ask(items))).decisions
  try {
    if (!items.every(isOpen)) return (await whenLoaded(deps.loadCounters, () => ask(items))).decisions
    const late = new AbortController()
    // Who is late is held by nobody but the store, without what was sent.
    const few = items.map(({ identity, draws, hold }) => ({ identity, draws, hold }))
    const asked = whenLoaded(deps.loadCounters, () => ask(few), late.signal)
    return (await within(OPEN_WAITS_MS, asked, late)).decisions
  } catch (error) {
    if (!(error instanceof Problem && error.code === 'unavailable')) throw error
    return items.map((item) => {
      return { taken: isOpen(item), drawn: false, over: false, remainingMicro: 0n, limitMicro: 0n, away: true }
    })
  }
}

function isOpenDraw({ limit, others }: LimitDraw): boolean {
  return limit.whenAway === 'open' && others.every(({ whenAway }) => whenAway === 'open')
}

/**
 * What comes later is lost, and nothing more is asked: a counter that is loaded by then has the events already. A draw
 * that is taken late all the same stays in its counter, where its event belongs.
 */
async function within<T>(mostMs: number, answer: Promise<T>, late: AbortController): Promise<T> {
  const answered = new AbortController()
  const timeout = sleep(mostMs, undefined, { signal: answered.signal }).then(() => {
    late.abort()
    throw new Problem('unavailable', 'The quota store does not answer in time')
  })
  try {
    return await Promise.race([answer, timeout])
  } finally {
    answered.abort()
    timeout.catch(() => undefined)
    answer.catch(() => undefined)
  }
}
