import type { Caller, TenantId } from '../../schemas/http/door.ts'
import type { TenantConfig } from '../accept/config.ts'
import { formatMicro, type QuotaLimit, type WindowName } from './limit.ts'
import { type LimitNow, limitAt } from './limit-draws.ts'
import { type CounterKey, isSmallerShare } from './quota-store.ts'
import { looksBack, nextTurnMs } from './rolling.ts'

/** What was asked of one limit. */
export type LimitAsked = LimitNow & { micro: bigint }
/** By meter, by the name of the entitlement, or neither. */
export type WhichLimits = { meter?: string | undefined; feature?: string | undefined }

/** One limit as it is told. `used` includes what is held; `allows`: what was asked fits. */
export type LimitState = {
  feature: string
  granted_by: QuotaLimit['grantedBy']
  subject: string
  meter: string
  window: WindowName
  shared_by: 'subject' | 'customer'
  enforcement: 'hard' | 'soft'
  limit: string
  used: string
  remaining: string
  allows: boolean
  starts_at: string
  resets_at: string
}

/**
 * `feature_…`: of a switch or a value, which has no limits. `not_entitled`: nobody
 * grants the feature that was asked for. `unchecked`: the counters could not be asked, and the limits are open.
 */
export type ReasonCode =
  | ('no_limit' | 'within_limits' | 'soft_limit_exceeded' | 'limit_exceeded')
  | ('feature_on' | 'feature_off' | 'not_entitled' | 'unchecked')

/** Where a subject stands, and which limit says so. `null`: there is no limit. */
export type Standing = {
  quota_remaining: string | null
  quota_exceeded: boolean
  resets_at: string | null
  reason: { code: ReasonCode; limits: LimitState[] }
}

/** The limits of a subject, of one meter or feature or all, with the counters that they have now. */
export function limitsOf(
  config: TenantConfig,
  tenant: TenantId,
  subject: string,
  nowMs: number,
  { meter, feature }: WhichLimits = {},
): LimitNow[] {
  return config
    .limitsOf(subject)
    .filter((limit) => (meter ?? limit.meter) === limit.meter && (feature ?? limit.feature) === limit.feature)
    .map((limit) => limitAt(tenant, limit, nowMs, nowMs))
}

/**
 * What remains, and when it comes back, is that of the limit with the smallest share left. `nowMs` is for events, which may
 * be late.
 */
export function standingOf(asked: readonly LimitAsked[], usedMicro: readonly bigint[], nowMs = 0): Standing {
  const limits = asked.map((draw, place) => stateOf(draw, usedMicro[place] ?? 0n, nowMs))
  let least: { remaining: bigint; limit: bigint; place: number } | undefined
  asked.forEach(({ limit: { limitMicro } }, place) => {
    const remaining = remainingOf(limitMicro, usedMicro[place] ?? 0n)
    if (!least || isSmallerShare(remaining, limitMicro, least.remaining, least.limit))
      least = { remaining, limit: limitMicro, place }
  })
  const passed = limits.filter(({ allows }) => !allows)
  const denied = passed.some(({ enforcement }) => enforcement === 'hard')
  const code = denied ? 'limit_exceeded' : passed.length > 0 ? 'soft_limit_exceeded' : 'within_limits'
  return {
    quota_remaining: least ? formatMicro(least.remaining) : null,
    quota_exceeded: passed.length > 0,
    resets_at: least ? (limits[least.place]?.resets_at ?? null) : null,
    reason: { code: limits.length === 0 ? 'no_limit' : code, limits },
  }
}

/**
 * As much of it as a caller may know (HC-8): of what the subjects of a customer used together, a key of single subjects
 * learns whether more fits, and nothing else.
 */
export function standingFor(
  { scope }: Pick<Caller, 'scope'>,
  asked: readonly LimitAsked[],
  usedMicro: readonly bigint[],
): Standing {
  const standing = standingOf(asked, usedMicro)
  if (scope === 'everything' || 'customer' in scope) return standing
  const isOwn = (place: number) => !asked[place]?.limit.ofCustomer
  const own = standingOf(
    asked.filter((_, place) => isOwn(place)),
    usedMicro.filter((_, place) => isOwn(place)),
  )
  return { ...own, quota_exceeded: standing.quota_exceeded, reason: { ...own.reason, code: standing.reason.code } }
}

function stateOf({ counter, micro, limit }: LimitAsked, usedMicro: bigint, nowMs: number): LimitState {
  const { feature, grantedBy, subject, meter, window, ofCustomer, soft, limitMicro } = limit
  const times = timesOf(counter)
  // Written out: each member that follows a spread costs most of a microsecond.
  return {
    feature,
    granted_by: grantedBy,
    subject,
    meter,
    window,
    shared_by: ofCustomer ? 'customer' : 'subject',
    enforcement: soft ? 'soft' : 'hard',
    limit: formatMicro(limitMicro),
    used: formatMicro(usedMicro),
    remaining: formatMicro(remainingOf(limitMicro, usedMicro)),
    allows: usedMicro + micro <= limitMicro,
    starts_at: times.starts,
    resets_at:
      counter.rolling && counter.endMs <= nowMs ? new Date(nextTurnMs(counter, nowMs)).toISOString() : times.ends,
  }
}

/** Whoever asks again asks with the same counter, and writing a time takes half a microsecond. */
const knownTimes = new WeakMap<CounterKey, { starts: string; ends: string }>()

function timesOf(counter: CounterKey): { starts: string; ends: string } {
  let times = knownTimes.get(counter)
  if (!times) {
    const { startMs, endMs } = looksBack(counter)
    times = { starts: new Date(startMs).toISOString(), ends: new Date(endMs).toISOString() }
    knownTimes.set(counter, times)
  }
  return times
}

function remainingOf(limitMicro: bigint, usedMicro: bigint): bigint {
  return limitMicro > usedMicro ? limitMicro - usedMicro : 0n
}
