import type { CounterKey } from './quota-store.ts'

/** A counter unused for so long is loaded anew. */
export const COUNTER_TTL_MS = 24 * 3_600_000
/** From the first look at a bucket, some minutes ahead of it, to the end of the last window that holds it (rolling.ts). */
const BUCKETS = 16

/** How long a counter lives that nobody uses. Of a short rolling limit hundreds of buckets would live for a day. */
export function livesMs({ startMs, endMs, rolling }: CounterKey): number {
  return rolling ? Math.min(BUCKETS * (endMs - startMs), COUNTER_TTL_MS) : COUNTER_TTL_MS
}
