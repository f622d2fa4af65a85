import type { Retry } from './lease-health.ts'

/** What was decided about a piece of work. */
export type Decision = {
  readonly allowed: boolean
  /** `server_away`: no lease could be had, and `quota.whenAway` decided. */
  readonly reason: 'lease' | 'no_limit' | 'limit_exceeded' | 'server_away'
  /** Belongs into the event of the admitted work: `emit({ …, hold: decision.hold })`. */
  readonly hold: string | undefined
}

/** A slice of the quota that this process may give away until `endMs`. */
export type Lease = {
  id: string
  grantedMicro: number
  freeMicro: number
  /** After this moment, or when little is left, the next one is asked for. */
  renewMs: number
  endMs: number
  endWallMs: number
  /** The same object for all it admits: a decision allocates nothing. */
  decision: Decision
}

/** A request for a lease; after a failure the same key asks again, for it may have been granted. */
export type Asked = { idempotencyKey: string; micro: number; sentMs: number; sentWallMs: number }

/** What this process knows of one subject on one meter. */
export type Account = Retry & {
  subject: string
  meter: string
  /** The oldest first. */
  leases: Lease[]
  fetching: Promise<void> | undefined
  unanswered: Asked | undefined
  /** The quantities of those who wait for a lease. */
  waiting: number[]
  /** Since the last lease was asked for: the sum, and the largest at once. */
  drawnMicro: number
  largestMicro: number
  askedMs: number
  rate: number | undefined
  remainingMicro: number | undefined
  usedMs: number
  /** Until then the server is believed to have no more than `remainingMicro`. */
  deniedUntilMs: number
  unlimitedUntilMs: number
  unlimitedUntilWallMs: number
}

const LOW_SHARE = 0.25
const RENEW_SHARE = 0.8

export function newAccount(subject: string, meter: string, nowMs: number): Account {
  return {
    subject,
    meter,
    leases: [],
    fetching: undefined,
    unanswered: undefined,
    waiting: [],
    drawnMicro: 0,
    largestMicro: 0,
    askedMs: nowMs,
    rate: undefined,
    remainingMicro: undefined,
    usedMs: nowMs,
    deniedUntilMs: 0,
    unlimitedUntilMs: 0,
    unlimitedUntilWallMs: 0,
    failures: 0,
    askAgainMs: 0,
  }
}

/**
 * Its time runs from when it was asked for, by both clocks: the server's begins later, so it ends here first, even if the
 * clock on the wall is set back or the machine slept. It never outlives the window of its limit.
 */
export function newLease(
  granted: { id: string; micro: number; resetsAtMs: number | undefined },
  asked: Asked,
  leaseMs: number,
): Lease {
  return {
    id: granted.id,
    grantedMicro: granted.micro,
    freeMicro: granted.micro,
    renewMs: asked.sentMs + leaseMs * RENEW_SHARE,
    endMs: asked.sentMs + leaseMs,
    endWallMs: Math.min(asked.sentWallMs + leaseMs, granted.resetsAtMs ?? Number.POSITIVE_INFINITY),
    decision: { allowed: true, reason: 'lease', hold: granted.id },
  }
}

export function isLow(lease: Lease, nowMs: number): boolean {
  return lease.freeMicro < lease.grantedMicro * LOW_SHARE || nowMs >= lease.renewMs
}

/** What can be had for it, as far as it is known: in its leases, and of the limit. */
export function reachableMicroOf(account: Account): number {
  return freeMicroOf(account) + (account.remainingMicro ?? 0)
}

/** What those who ask can use when no more than `mostMicro` can be had. */
export function usableMicroOf(account: Account, micro: number, mostMicro: number): number {
  const waitingMicro = account.waiting.reduce((sum, each) => (each <= mostMicro ? sum + each : sum), 0)
  return Math.max(micro <= mostMicro ? micro : 0, waitingMicro)
}

/** What the next lease should cover at least. A quantity of nothing asks whether anything is left. */
export function neededMicroOf(account: Account, micro: number, isDenied: boolean): number {
  const mostMicro = isDenied ? reachableMicroOf(account) : Number.POSITIVE_INFINITY
  return Math.max(1, usableMicroOf(account, micro, mostMicro), Math.min(account.largestMicro, mostMicro))
}

function freeMicroOf(account: Account): number {
  return account.leases.reduce((sum, { freeMicro }) => sum + freeMicro, 0)
}
