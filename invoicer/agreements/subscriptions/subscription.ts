import type { Interval } from '../../../schemas/time/period.ts'
import type { Alignment } from '../plans/plan.ts'

/** A customer on a plan from a start to an optional end (the contract's end), both at whole minutes. */
export type Subscription = {
  id: string
  externalKey: string
  customerId: string
  planKey: string
  state: 'active'
  startMs: number
  endMs: number | null
  /** The first period without an invoice; null after the last. */
  nextPeriod: { startMs: number; endMs: number } | null
  createdAtMs: number
}

/** What periods are computed from. */
export type Terms = {
  startMs: number
  endMs: number | null
  interval: Interval
  alignment: Alignment
  zone: string
}
