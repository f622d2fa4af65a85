import { formatMicro, type QuotaLimit } from '../limit.ts'
import type { CounterKey } from '../quota-store.ts'
import { toldWithin } from '../rolling.ts'
import type { Level } from './levels.ts'

export const THRESHOLD_REACHED = 'quota.threshold_reached'

/** A level of a limit that was reached. */
export type Reached = { counter: CounterKey; limit: QuotaLimit; level: Level; usedMicro: bigint }

/**
 * What is told of it, at the door and by webhooks. Of a limit that subjects share, `subject` is null. Times are those within
 * which it is told once: the window of the counter, or of a rolling limit one as long as it.
 */
export type AlertAnswer = {
  id: string
  feature: string
  meter: string
  subject: string | null
  customer: string | null
  level: string
  limit: string
  used: string
  window: QuotaLimit['window']
  starts_at: string
  resets_at: string
  fired_at: string
}

/** `customerKey`: of the customer whose subjects share the limit. */
export function answerOf(id: string, reached: Reached, customerKey: string | null, firedAtMs: number): AlertAnswer {
  const { counter, limit, level, usedMicro } = reached
  const { startMs, endMs } = toldWithin(counter)
  return {
    id,
    feature: limit.feature,
    meter: counter.meter,
    subject: counter.ofCustomer ? null : counter.subject,
    customer: customerKey,
    level: level.text,
    limit: formatMicro(limit.limitMicro),
    used: formatMicro(usedMicro),
    window: limit.window,
    starts_at: new Date(startMs).toISOString(),
    resets_at: new Date(endMs).toISOString(),
    fired_at: new Date(firedAtMs).toISOString(),
  }
}
