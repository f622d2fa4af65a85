import type { Logger } from 'pino'
import type { Counter } from 'prom-client'
import type { Caller } from '../../schemas/http/door.ts'
import type { Accepted } from './accept.ts'
import { countOutcomes, OUTCOME_KINDS } from './outcome.ts'

/** What a single event was sent as, so much of a usage type: the log then tells that. */
export type SentAs = { usageType: string; amount: number | string }
/** Tells metrics and log what became of a request's events, after they are durable. */
export type UsageRecorder = (caller: Caller, results: readonly Accepted[], sentAs?: SentAs) => void

export type RecorderDeps = {
  logger: Logger
  usageTotal: Counter<'tenant' | 'outcome'>
  quotaExceededTotal: Counter<'tenant'>
}

type Recorded = { userId: string; usageType: string; events: number; quotaRemaining: string | undefined }

/**
 * One log line per request, subject and usage type (HC-10): a line an event would cost more than the event. `amount` is
 * the number of events recorded.
 */
export function createUsageRecorder({ logger, usageTotal, quotaExceededTotal }: RecorderDeps): UsageRecorder {
  return (caller, results, sentAs) => {
    const tenant = caller.tenantSlug
    const counts = countOutcomes(results)
    for (const kind of OUTCOME_KINDS) {
      const count = counts[kind]
      if (count > 0) usageTotal.inc({ tenant, outcome: kind }, count)
      if (count > 0 && kind === 'quota_exceeded') quotaExceededTotal.inc({ tenant }, count)
    }
    for (const { userId, usageType, events, quotaRemaining } of recordedUsage(results)) {
      logger.info({
        service: 'ingest',
        event: 'usage_recorded',
        tenant,
        user_id: userId,
        usage_type: sentAs?.usageType ?? usageType,
        amount: sentAs?.amount ?? events,
        quota_remaining: quotaRemaining,
      })
    }
  }
}

function recordedUsage(results: readonly Accepted[]): Recorded[] {
  const groups = new Map<string, Recorded>()
  let group: Recorded | undefined
  for (const { outcome, event } of results) {
    if (outcome.outcome !== 'accepted' || !event) continue
    const { subject, type } = event
    // Events of one subject mostly stand together.
    if (group?.userId !== subject || group.usageType !== type) group = groupOf(groups, subject, type)
    group.events++
    group.quotaRemaining = outcome.quota_remaining ?? group.quotaRemaining
  }
  return [...groups.values()]
}

function groupOf(groups: Map<string, Recorded>, userId: string, usageType: string): Recorded {
  const key = `${userId}\n${usageType}`
  const known = groups.get(key)
  if (known) return known
  const group: Recorded = { userId, usageType, events: 0, quotaRemaining: undefined }
  groups.set(key, group)
  return group
}
