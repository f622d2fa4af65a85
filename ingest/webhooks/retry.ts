const SECOND_MS = 1_000
const MINUTE_MS = 60 * SECOND_MS
const HOUR_MS = 60 * MINUTE_MS

/** How long after a failed attempt the next one comes at most: in all 31.6 hours. */
const DELAYS_MS = [
  5 * SECOND_MS,
  5 * MINUTE_MS,
  30 * MINUTE_MS,
  2 * HOUR_MS,
  5 * HOUR_MS,
  10 * HOUR_MS,
  14 * HOUR_MS,
] as const
export const MOST_ATTEMPTS = DELAYS_MS.length + 1

/**
 * How long to wait after so many attempts; undefined: it is given up. An attempt is counted when it begins, so one that a
 * kill interrupts is one of them. Half of the delay is by chance (`random`, 0 to 1), so that those that failed together
 * do not come back together, and the attempts still span 15.7 hours at least.
 */
export function retryDelayMs(attempts: number, random: number): number | undefined {
  const mostMs = DELAYS_MS[attempts - 1]
  return mostMs === undefined ? undefined : Math.round(mostMs * (0.5 + random / 2))
}
