import type { Logger } from 'pino'
import type { Caller } from '../../schemas/http/door.ts'
import { type AcceptDeps, type Accepted, acceptEvents } from '../accept/accept.ts'
import type { UsageRecorder } from '../accept/record.ts'
import type { QuotaDeps } from './quota-deps.ts'
import { NO_LIMIT_MICRO } from './quota-store.ts'
import { type LimitAsked, type Standing, standingOf } from './standing.ts'
import { usedOfLimits } from './used-of-limits.ts'

/** Of events that do not name their own: their ids are apart from those of other doors. */
export const CONSUME_SOURCE = '/consume'

export type ConsumeDeps = QuotaDeps & { accept: AcceptDeps; recorder: UsageRecorder; logger: Logger }
/** `duplicate`: it drew before, within minutes. Where there is no limit nobody knows at the edge. */
export type Consumed = { result: Accepted; duplicate: boolean; standing: Standing }

/** Ingests one event; with a `tallyhold` it draws from there first. */
export async function consumeQuota(
  deps: ConsumeDeps,
  caller: Caller,
  event: Readonly<Record<string, unknown>>,
): Promise<Consumed> {
  const result = await acceptOne(deps, caller, event)
  return standingAfter(deps, result)
}

/** What became of it is told to log and metrics at once: whatever follows only fills in the answer. */
export async function acceptOne(
  { accept, recorder }: ConsumeDeps,
  caller: Caller,
  event: Readonly<Record<string, unknown>>,
): Promise<Accepted> {
  const [result] = await acceptEvents(accept, caller, [event])
  if (!result) throw new Error('One event has one outcome')
  recorder(caller, [result])
  return result
}

/**
 * The event's limits as they stand now, which is one more look at their counters: what others took meanwhile is in. The
 * event has its outcome already, so the look loads nothing and fails nothing: without it the answer is what was decided.
 */
export async function standingAfter(deps: ConsumeDeps, result: Accepted): Promise<Consumed> {
  const { outcome, event, repeated } = result
  const refused = outcome.outcome === 'quota_exceeded'
  // What was taken is in the counters, and is not asked for again.
  const asked = (event?.draws ?? []).flatMap(({ counter, windows, micro, limit, others }) =>
    [limit, ...others].map((one) => ({ counter, windows, limit: one, micro: refused ? micro : 0n })),
  )
  const unchecked = outcome.outcome === 'accepted' && outcome.quota_unchecked
  const usedMicro = unchecked ? undefined : await usedNow(deps, asked)
  const standing = usedMicro ? standingOf(asked, usedMicro, deps.now()) : decidedStanding(result)
  return { result, duplicate: repeated === true, standing: refused ? refusedStanding(standing, outcome) : standing }
}

async function usedNow({ quota, now, logger }: ConsumeDeps, asked: readonly LimitAsked[]) {
  if (asked.length === 0) return []
  const answer = await usedOfLimits(quota, asked, now()).catch((error: unknown) => {
    logger.warn({ error }, 'an answer does not tell the limits of its event')
    return undefined
  })
  return answer && 'usedMicro' in answer ? answer.usedMicro : undefined
}

/** What the decision knows: which limits there are, and when they end, it does not. */
function decidedStanding({ outcome, event }: Accepted): Standing {
  const over = outcome.outcome === 'accepted' && outcome.over_quota === true
  const unchecked = outcome.outcome === 'accepted' && outcome.quota_unchecked === true
  const remaining = 'quota_remaining' in outcome ? outcome.quota_remaining : undefined
  const isSoft = event?.draws.every(({ limitMicro }) => limitMicro === NO_LIMIT_MICRO)
  const overCode = isSoft ? 'soft_limit_exceeded' : 'limit_exceeded'
  return {
    quota_remaining: remaining ?? null,
    quota_exceeded: over,
    resets_at: null,
    reason: { code: unchecked ? 'unchecked' : over ? overCode : 'within_limits', limits: [] },
  }
}

/** The decision says why, and what remained then; limits may have got room since. */
function refusedStanding(standing: Standing, { quota_remaining }: { quota_remaining: string }): Standing {
  const reason = { ...standing.reason, code: 'limit_exceeded' as const }
  return { ...standing, quota_remaining, quota_exceeded: true, reason }
}
