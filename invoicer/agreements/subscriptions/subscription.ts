import type { Cadence } from '../../../schemas/time/period.ts'
import type { AgreedTerms } from '../contracts/terms.ts'
import type { Alignment } from '../plans/plan.ts'
import type { NamedAddOn } from './add-ons.ts'
import type { SubscriptionState } from './lifecycle.ts'
import type { Phase, Phases } from './phases.ts'
import type { Licences } from './quantities.ts'

/**
 * A phase, with key, version and periods of its plan, and whether that bills fees in advance. `negotiated`: it is a private
 * version, with prices of the customer's own. `licences`: what its plan asks quantities for; left out: nothing.
 */
export type NamedPhase = Omit<Phase, 'addOns'> & {
  planKey: string
  planVersion: number
  periods: Recurrence
  feesAhead: boolean
  negotiated?: boolean
  licences?: Licences
  addOns?: readonly NamedAddOn[]
}

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
  /** Up to when fees that are billed in advance are owed, though it ends before; null: up to its end. */
  feesUntilMs: number | null
  /** The first period without an invoice; null after the last. */
  nextPeriod: StoredPeriod | null
  createdAtMs: number
  /** What was negotiated as it was created; left out: nothing. */
  agreed?: AgreedTerms
}

/** The boundaries of a period as they are stored with its subscription. */
export type StoredPeriod = { startMs: number; endMs: number }

/** How periods recur. */
export type Recurrence = Cadence & { alignment: Alignment }

/** What periods are computed from. `later`: where they begin anew and recur otherwise, in order; left out: nowhere. */
export type Terms = Recurrence & {
  startMs: number
  endMs: number | null
  zone: string
  later?: readonly (Recurrence & { startMs: number })[]
}
