import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { CounterKey, QuotaDraw } from './quota-store.ts'

/** A limit and the counter that it has now. */
export type CounterLimit = Omit<QuotaDraw, 'micro'>

/** Quota to be set aside for work whose size is not known yet: a reservation, or with `partly` a lease. */
export type HoldRequest = {
  /** The same id again is the same hold. */
  id: string
  tenant: TenantId
  subject: string
  meter: string
  askedMicro: bigint
  /** As much is held on each. */
  limits: readonly CounterLimit[]
  /** What fits is granted if all does not. */
  partly: boolean
  lastsMs: number
}

/** What was granted, as it stands in the store until some minutes after its end. */
export type Hold = {
  subject: string
  meter: string
  askedMicro: bigint
  grantedMicro: bigint
  expiresAtMs: number
  /** What stood against each limit, right after the grant. */
  usedMicro: readonly bigint[]
}

/**
 * Quota that is set aside. What is granted is added to its counters at once, so draws and limits need not look at holds.
 * A hold lives until it is released, or until HOLD_GRACE_MS after its expiry; then what it has left goes back, exactly
 * once, whoever finds it first. All of this is lost with the store's data, and with nothing less.
 */
export type HoldStore = {
  /**
   * Counters that are not loaded are named instead. No hold: it does not fit, and `usedMicro` says what stands there;
   * otherwise it is that right after the grant. Without `enforce` everything fits. Fails as `tooManyHolds` while the
   * tenant has MOST_LIVING_HOLDS.
   */
  hold(
    request: HoldRequest,
    nowMs: number,
    enforce: boolean,
  ): Promise<{ missing: CounterKey[] } | { hold: Hold | undefined; usedMicro: readonly bigint[] }>
  /** Ends a hold. Answers what it still had: 0 if it is gone. */
  release(tenant: TenantId, id: string, nowMs: number): Promise<bigint>
  /**
   * Frees at most so much of a hold, which goes on. The same amount again is the same call, and frees nothing more.
   * After MOST_RETURNS different amounts nothing is freed before the hold ends.
   */
  returnUnused(tenant: TenantId, id: string, mostMicro: bigint, nowMs: number): Promise<bigint>
  /** Whose a hold is, also for a while after its end. */
  subjectOfHold(tenant: TenantId, id: string): Promise<string | undefined>
  /** What is used of counters of one tenant, held included. Changes nothing. */
  read(counters: readonly CounterKey[], nowMs: number): Promise<{ missing: CounterKey[] } | { usedMicro: bigint[] }>
  /** Ends holds whose time is over, of every tenant that this process was asked about. Answers how many. */
  sweepHolds(nowMs: number): Promise<number>
}

/** Events that a lease decided may still be on their way when it expires. */
export const HOLD_GRACE_MS = 10_000
/** A hold that ended is remembered: its key again is answered as before, and holds nothing. */
export const HOLD_REMEMBERED_MS = 15 * 60_000
/** No request waits for more ends of holds than this. */
export const MOST_SWEPT = 100
/** A tenant's holds that have not ended: some 60 MB of a Redis that refuses everybody when it is full. */
export const MOST_LIVING_HOLDS = 100_000
/** What was returned is remembered by its amount, so that it is told from a repeat: not for ever more amounts. */
export const MOST_RETURNS = 100

export function tooManyHolds(): Problem {
  const detail = `${MOST_LIVING_HOLDS} reservations and leases live, which is the most: release some, or let them expire.`
  return new Problem('overloaded', detail, { retryAfterSeconds: 10 })
}
