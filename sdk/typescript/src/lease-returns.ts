import type { Account, Lease } from './account.ts'
import { returnLease } from './lease-requests.ts'
import type { Post } from './post.ts'
import type { Settings } from './settings.ts'
import { createSlots } from './slots.ts'

export type LeaseReturns = {
  /** Gives the unused rest of a lease back at once. */
  giveUp: (account: Account, lease: Lease) => Promise<void>
  /** Resolves when all that was given back has arrived, or never will. */
  settled: () => Promise<void>
}

const MOST_REQUESTS = 64
/** So long after its end the server gives back what a lease has left by itself. */
const GRACE_MS = 10_000

export function createLeaseReturns({ clock, quota }: Settings, post: Post): LeaseReturns {
  const slots = createSlots(MOST_REQUESTS)
  const underWay = new Set<Promise<void>>()
  return {
    // Whole and once: the server takes the same quantity of one lease for the same call.
    giveUp: async (account, { id, freeMicro, endMs }) => {
      account.leases = account.leases.filter((each) => each.id !== id)
      if (freeMicro === 0) return
      account.remainingMicro = (account.remainingMicro ?? 0) + freeMicro
      const sending = slots(async () => {
        if (clock.monotonicMs() < endMs + GRACE_MS) await returnLease(post, id, freeMicro, quota.requestTimeoutMs)
      }).finally(() => underWay.delete(sending))
      underWay.add(sending)
      await sending
    },
    settled: async () => {
      while (underWay.size > 0) await Promise.all(underWay)
    },
  }
}
