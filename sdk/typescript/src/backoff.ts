/** Full jitter: anything between nothing and the doubled wait, so that clients that failed together return apart. */
export function retryDelayMs(attempt: number, firstMs: number, longestMs: number, random: () => number): number {
  return random() * Math.min(longestMs, firstMs * 2 ** Math.min(attempt, 32))
}

const LONGEST_RETRY_AFTER_MS = 3_600_000

/** Retry-After in seconds or as a date; undefined when it is absent or unreadable. */
export function retryAfterMs(header: string | null, wallMs: number): number | undefined {
  if (header === null || header.trim() === '') return undefined
  const seconds = Number(header)
  const ms = Number.isNaN(seconds) ? Date.parse(header) - wallMs : seconds * 1_000
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), LONGEST_RETRY_AFTER_MS)
}
