import type { ProblemError } from '../../../schemas/http/problem.ts'
import { floorToMinute } from '../../../schemas/time/period.ts'
import type { Plan } from './plan.ts'

type Latest = Pick<Plan, 'version' | 'effectiveFromMs'>

const MOST_YEARS_AHEAD = 5
/** Clocks of two processes may lie so far apart. */
const CLOCK_SKEW_MS = 5 * 60_000

/**
 * When a version takes effect that names no date: in this minute, or together with the latest one where that lies a
 * little ahead, as it does when a process with a faster clock has just made it.
 */
export function defaultEffectiveFrom({ effectiveFromMs }: Latest, nowMs: number): number {
  const minuteMs = floorToMinute(nowMs)
  const isLittleAhead = effectiveFromMs !== null && effectiveFromMs - minuteMs <= CLOCK_SKEW_MS
  return isLittleAhead ? Math.max(minuteMs, effectiveFromMs) : minuteMs
}

/** Why no version may take effect at a time; undefined if one may. */
export function faultOfDate(effectiveFromMs: number, nowMs: number): string | undefined {
  if (effectiveFromMs < floorToMinute(nowMs)) {
    return 'This lies in the past, which may be billed already: leave it out for now, or name a time to come.'
  }
  if (effectiveFromMs <= new Date(nowMs).setUTCFullYear(new Date(nowMs).getUTCFullYear() + MOST_YEARS_AHEAD)) return
  return (
    `This lies more than ${MOST_YEARS_AHEAD} years ahead. A version cannot be taken back, and none after it may take ` +
    'effect before it: a slip of the pen would keep the price until then.'
  )
}

/** What is wrong with the date of the version after the latest one. */
export function checkEffectiveFrom(latest: Latest, effectiveFromMs: number, nowMs: number): ProblemError[] {
  const fault = faultOfDate(effectiveFromMs, nowMs) ?? faultAfter(latest, effectiveFromMs)
  return fault === undefined ? [] : [{ path: 'effective_from', message: fault }]
}

function faultAfter(latest: Latest, effectiveFromMs: number): string | undefined {
  if (latest.effectiveFromMs === null || effectiveFromMs >= latest.effectiveFromMs) return undefined
  const since = new Date(latest.effectiveFromMs).toISOString()
  return `Version ${latest.version} takes effect at ${since}: not before that.`
}
