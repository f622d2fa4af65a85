import {
  type Account,
  type Asked,
  type Lease,
  neededMicroOf,
  newLease,
  reachableMicroOf,
  usableMicroOf,
} from './account.ts'
import { retryAfterMs } from './backoff.ts'
import { createLeaseHealth } from './lease-health.ts'
import { type LeaseAnswer, type LeaseTrouble, requestLease } from './lease-requests.ts'
import { createLeaseReturns } from './lease-returns.ts'
import { type Demand, nextLease } from './lease-size.ts'
import { microOf } from './micro.ts'
import type { Post } from './post.ts'
import type { LeaseFailure, Settings } from './settings.ts'
import { createSlots } from './slots.ts'

export type LeaseFetcher = {
  /**
   * Asks for a lease that covers so much, and who waits, unless it is too early to ask again; one request at a time for an
   * account.
   */
  fetch: (account: Account, micro: number) => void
  /** No lease could be had lately: nobody waits for the next. */
  isAway: (account: Account) => boolean
  giveUp: (account: Account, lease: Lease) => Promise<void>
  /** What comes from now on is given back; resolves when all that was given back has arrived, or never will. */
  close: () => Promise<void>
  counts: { leaseRequests: number; leaseFailures: number; latestLeaseError: string | undefined }
}
export type LeaseDeps = {
  settings: Settings
  post: Post
  nextId: () => string
  onFailure: (failure: LeaseFailure) => void
}

const MOST_LEASES = 2
const MOST_REQUESTS = 64

export function createLeaseFetcher({ settings, post, nextId, onFailure }: LeaseDeps): LeaseFetcher {
  const { clock, quota } = settings
  const health = createLeaseHealth(settings)
  const { giveUp, settled } = createLeaseReturns(settings, post)
  const slots = createSlots(MOST_REQUESTS)
  const underWay = new Set<Promise<void>>()
  const counts: LeaseFetcher['counts'] = { leaseRequests: 0, leaseFailures: 0, latestLeaseError: undefined }
  let closed = false

  const failed = (account: Account, trouble: LeaseTrouble, isProbe: boolean) => {
    const { kind, status, message, retryAfter } = trouble
    const waitMs = retryAfterMs(retryAfter, clock.wallMs()) ?? 0
    if (kind === 'refused') health.refused(account, waitMs)
    else health.away(isProbe, waitMs)
    counts.leaseFailures++
    counts.latestLeaseError = message
    onFailure({ subject: account.subject, meter: account.meter, status, message })
  }
  const take = (account: Account, answer: LeaseAnswer, asked: Asked, isProbe: boolean) => {
    if (answer.kind === 'away' || answer.kind === 'refused') return failed(account, answer, isProbe)
    health.answered(account)
    learn(account, answer, asked, settings)
    if (answer.kind !== 'granted') return
    for (const old of account.leases) if (clock.monotonicMs() >= old.renewMs) giveUp(account, old)
    account.leases.push(newLease(answer, asked, quota.leaseMs))
    const surplus = closed ? account.leases.length : account.leases.length - MOST_LEASES
    for (const lease of account.leases.slice(0, Math.max(0, surplus))) giveUp(account, lease)
  }
  const ask = async (account: Account, micro: number, untilMs: number, isProbe: boolean): Promise<void> => {
    // It went away while this one stood in line.
    if (closed || (!isProbe && health.isServerAway())) return
    const isDenied = clock.monotonicMs() < account.deniedUntilMs
    const neededMicro = neededMicroOf(account, micro, isDenied)
    // The server has no more: what lies in several leases goes back, and comes again in one.
    const isBeyond = usableMicroOf(account, micro, reachableMicroOf(account)) > (account.remainingMicro ?? 0)
    if (isDenied && isBeyond) await Promise.all(account.leases.map((lease) => giveUp(account, lease)))
    const { subject, meter } = account
    const demand = { ...account, neededMicro, elapsedMs: clock.monotonicMs() - account.askedMs }
    const asked = nextAsked(account, demand, settings, nextId)
    counts.leaseRequests++
    const timeoutMs = Math.max(1, untilMs - clock.monotonicMs())
    const answer = await requestLease(post, { ...asked, subject, meter, leaseMs: quota.leaseMs, timeoutMs })
    take(account, answer, asked, isProbe)
    if (answer.kind !== 'granted' || answer.micro >= neededMicro) return
    // Too little for who asked: if it is more than the others use, it goes back whole, and they ask by themselves.
    const lease = account.leases.find(({ id }) => id === answer.id)
    const usableMicro = usableMicroOf(account, micro, reachableMicroOf(account))
    if (lease && isMoreThanUsed(lease, { ...demand, neededMicro: usableMicro }, quota)) await giveUp(account, lease)
  }

  return {
    fetch: (account, micro) => {
      if (account.fetching || closed || !health.mayAsk(account)) return
      const isProbe = health.begin()
      const untilMs = clock.monotonicMs() + quota.requestTimeoutMs
      const work = () => ask(account, micro, untilMs, isProbe)
      const asking = (isProbe ? work() : slots(work))
        .catch((error: unknown) => {
          failed(account, { kind: 'refused', status: 0, message: String(error), retryAfter: null }, isProbe)
        })
        .finally(() => {
          account.fetching = undefined
          health.end(isProbe)
          underWay.delete(asking)
        })
      account.fetching = asking
      underWay.add(asking)
    },
    isAway: health.isAway,
    giveUp,
    close: async () => {
      closed = true
      while (underWay.size > 0) await Promise.all(underWay)
      await settled()
    },
    counts,
  }
}

/** What to ask for; demand is counted anew from here. A request that may only have lost its answer is made again. */
function nextAsked(account: Account, demand: Demand, { clock, quota }: Settings, nextId: () => string): Asked {
  const nowMs = clock.monotonicMs()
  const { micro, rate } = nextLease(demand, quota)
  Object.assign(account, { rate, askedMs: nowMs, drawnMicro: 0, largestMicro: 0 })
  const { unanswered } = account
  const isYoung = unanswered && nowMs - unanswered.sentMs < quota.leaseMs / 2
  if (isYoung && unanswered.micro >= demand.neededMicro) return unanswered
  account.unanswered = { idempotencyKey: nextId(), micro, sentMs: nowMs, sentWallMs: clock.wallMs() }
  return account.unanswered
}

function isMoreThanUsed({ grantedMicro }: Lease, demand: Demand, quota: Settings['quota']): boolean {
  const neededMicro = Math.max(demand.neededMicro, microOf(quota.firstQuantity))
  return nextLease({ ...demand, neededMicro, remainingMicro: grantedMicro }, quota).micro < grantedMicro
}

/** What an answer says about the limit. */
function learn(
  account: Account,
  answer: Exclude<LeaseAnswer, LeaseTrouble>,
  asked: Asked,
  { clock, quota }: Settings,
): void {
  account.unanswered = undefined
  account.remainingMicro = answer.kind === 'granted' ? answer.remainingMicro : 0
  // Less than was asked for: there is no more.
  const isLast = answer.kind === 'denied' || (answer.kind === 'granted' && answer.micro < asked.micro)
  account.deniedUntilMs = isLast ? clock.monotonicMs() + quota.deniedMs : 0
  if (answer.kind !== 'no_limit') return
  account.remainingMicro = undefined
  account.unlimitedUntilMs = asked.sentMs + quota.leaseMs
  account.unlimitedUntilWallMs = asked.sentWallMs + quota.leaseMs
}
