import { type Account, type Decision, isLow, newAccount, reachableMicroOf } from './account.ts'
import { createLeaseFetcher, type LeaseDeps } from './lease-fetcher.ts'
import { microOf } from './micro.ts'
import type { Settings } from './settings.ts'

export type Leases = {
  /**
   * Takes the quantity from a lease, at once; undefined while the first lease is on its way. Throws a RangeError for a
   * quantity that is none.
   */
  decide: (subject: string, meter: string, quantity?: number) => Decision | undefined
  /** As decide, but waits for that lease. */
  check: (subject: string, meter: string, quantity?: number) => Promise<Decision>
  /** The admitted work was not done, or was less: so much of it is free again. */
  giveBack: (decision: Decision, subject: string, meter: string, quantity?: number) => void
  /** The admitted work took so much more: taken from the lease that admitted it, as far as that has it. */
  takeMore: (decision: Decision, subject: string, meter: string, quantity: number) => void
  close: () => Promise<void>
  stats: () => LeaseStats
}
export type LeaseStats = {
  /** Requests for leases, and those that brought no answer that can be used. */
  leaseRequests: number
  leaseFailures: number
  /** What the latest of these said. */
  latestLeaseError: string | undefined
  /** Pairs of subject and meter that are known. */
  accounts: number
}

const NO_LIMIT: Decision = { allowed: true, reason: 'no_limit', hold: undefined }
const EXCEEDED: Decision = { allowed: false, reason: 'limit_exceeded', hold: undefined }
const MOST_ROUNDS = 10
const SWEEP_MS = 1_000
const RENEW_AHEAD = 0.2

/**
 * Decides in the process from leases. Whatever a lease admits was taken from the limit on the server before. What a lease
 * holds when its process dies stays taken until the lease ends.
 */
export function createLeases(deps: LeaseDeps): Leases {
  const { settings } = deps
  const { clock, quota } = settings
  const fetcher = createLeaseFetcher(deps)
  const accounts = createAccounts(settings, (account) => {
    for (const lease of account.leases) fetcher.giveUp(account, lease)
  })
  const away: Decision = { allowed: quota.whenAway === 'open', reason: 'server_away', hold: undefined }
  let closed = false

  const decide: Leases['decide'] = (subject, meter, quantity = 1) => {
    const account = accounts.get(subject, meter)
    const micro = microOf(quantity)
    const nowMs = clock.monotonicMs()
    account.usedMs = nowMs
    // Nothing is allowed only while anything is left.
    const neededMicro = micro || 1
    for (const lease of account.leases) {
      if (lease.freeMicro < neededMicro || nowMs >= lease.endMs || clock.wallMs() >= lease.endWallMs) continue
      lease.freeMicro -= micro
      account.drawnMicro += micro
      if (micro > account.largestMicro) account.largestMicro = micro
      if (isLow(lease, nowMs) && account.leases.at(-1) === lease) renew(account, nowMs)
      return lease.decision
    }
    return decideWithoutLease(account, neededMicro, nowMs)
  }
  /** Ahead of time. */
  const renew = (account: Account, nowMs: number) => {
    if (nowMs >= account.deniedUntilMs || account.remainingMicro) fetcher.fetch(account, 0)
  }
  const decideWithoutLease = (account: Account, micro: number, nowMs: number): Decision | undefined => {
    if (closed) return away
    if (nowMs < account.unlimitedUntilMs && clock.wallMs() < account.unlimitedUntilWallMs) {
      if (nowMs >= account.unlimitedUntilMs - quota.leaseMs * RENEW_AHEAD) fetcher.fetch(account, micro)
      return NO_LIMIT
    }
    // What covers it together is exchanged for a lease that covers it alone; meanwhile smaller work waits.
    const isBeyond = nowMs < account.deniedUntilMs && reachableMicroOf(account) < micro
    if (isBeyond && !account.fetching) return EXCEEDED
    // Nobody waits for a server that is away.
    const isAway = fetcher.isAway(account)
    fetcher.fetch(account, micro)
    return isAway ? away : undefined
  }

  const check: Leases['check'] = async (subject, meter, quantity = 1) => {
    const first = decide(subject, meter, quantity)
    if (first) return first
    const account = accounts.get(subject, meter)
    const micro = microOf(quantity)
    account.waiting.push(micro)
    try {
      for (let round = 0; round < MOST_ROUNDS; round++) {
        await account.fetching
        const decision = decide(subject, meter, quantity)
        if (decision) return decision
      }
      return away
    } finally {
      account.waiting.splice(account.waiting.indexOf(micro), 1)
    }
  }

  return {
    decide,
    check,
    ...createCorrections(accounts),
    close: async () => {
      closed = true
      accounts.clear()
      await fetcher.close()
    },
    stats: () => ({ ...fetcher.counts, accounts: accounts.count() }),
  }
}

/** Of what was admitted, in the lease that admitted it. */
function createCorrections(accounts: Accounts): Pick<Leases, 'giveBack' | 'takeMore'> {
  const leaseOf = ({ hold }: Decision, subject: string, meter: string) =>
    accounts.find(subject, meter)?.leases.find(({ id }) => id === hold)
  return {
    giveBack: (decision, subject, meter, quantity = 1) => {
      const lease = leaseOf(decision, subject, meter)
      if (lease) lease.freeMicro = Math.min(lease.grantedMicro, lease.freeMicro + microOf(quantity))
    },
    takeMore: (decision, subject, meter, quantity) => {
      const lease = leaseOf(decision, subject, meter)
      if (lease) lease.freeMicro = Math.max(0, lease.freeMicro - microOf(quantity))
    },
  }
}

type Accounts = ReturnType<typeof createAccounts>

/** By meter and subject; `forget` is told of each that was not used for long. */
function createAccounts({ clock, quota }: Settings, forget: (account: Account) => void) {
  const meters = new Map<string, Map<string, Account>>()
  let sweeping = false
  const sweepLater = () => {
    if (sweeping) return
    sweeping = true
    clock.after(SWEEP_MS, () => {
      sweeping = false
      sweep((account) => clock.monotonicMs() - account.usedMs >= quota.idleMs)
      if (meters.size > 0) sweepLater()
    })
  }
  const sweep = (isIdle: (account: Account) => boolean) => {
    for (const [meter, subjects] of meters) {
      for (const [subject, account] of subjects) {
        if (!isIdle(account) || account.fetching || account.waiting.length > 0) continue
        forget(account)
        subjects.delete(subject)
      }
      if (subjects.size === 0) meters.delete(meter)
    }
  }
  const open = (subject: string, meter: string): Account => {
    const account = newAccount(subject, meter, clock.monotonicMs())
    const subjects = meters.get(meter) ?? new Map<string, Account>()
    meters.set(meter, subjects.set(subject, account))
    sweepLater()
    return account
  }
  return {
    get: (subject: string, meter: string): Account => meters.get(meter)?.get(subject) ?? open(subject, meter),
    find: (subject: string, meter: string): Account | undefined => meters.get(meter)?.get(subject),
    count: () => [...meters.values()].reduce((sum, { size }) => sum + size, 0),
    clear: () => {
      for (const account of [...meters.values()].flatMap((subjects) => [...subjects.values()])) forget(account)
      meters.clear()
    },
  }
}
