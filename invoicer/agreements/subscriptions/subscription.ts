import type { Interval } from '../../../schemas/time/period.ts'
import type { Alignment } from '../plans/plan.ts'
import type { SubscriptionState } from './lifecycle.ts'
import type { Phase, Phases } from './phases.ts'

/** A phase, with key and version of its plan. */
export type NamedPhase = Phase & { planKey: string; planVersion: number }

/** A customer on a plan, or one after the other, from a start to an optional end, all at whole minutes. */
export type Subscription = {
  id: string
  externalKey: string
  customerId: string
  /** The plan it was created with. */
  planKey: string
  /** Without what its phases say; `stateAt` has that. */
  state: SubscriptionState
  phases: Phases<NamedPhase>
  startMs: number
  endMs: number | null
  /** Where it ends without a cancellation. */
  contractEndMs: number | null
  /** The first period without an invoice; null after the last. */
  nextPeriod: StoredPeriod | null
  createdAtMs: number
}

/** The boundaries of a period as they are stored with its subscription. */
export type StoredPeriod = { startMs: number; endMs: number }

/** What periods are computed from. */
export type Terms = {
  startMs: number
  endMs: number | null
  interval: Interval
  every: number
  alignment: Alignment
  zone: string
}
