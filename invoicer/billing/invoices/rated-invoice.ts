import type { Period } from '../../../schemas/time/period.ts'
import type { Plan } from '../../agreements/plans/plan.ts'
import type { DueSubscription } from '../due.ts'
import type { Draft } from '../lines.ts'
import type { Price } from '../rating/price.ts'

/** An invoice that is rated and not yet stored. `next` is the period after it, null once the contract has ended. */
export type RatedInvoice = {
  subscription: DueSubscription
  plan: Plan<Price>
  period: Period
  next: Period | null
  draft: Draft
  /** An invoice of its own for what waited, beside the periods of its subscription. */
  offCycle?: true
}

/** With the id it will have. */
export type NewInvoice = RatedInvoice & { id: string }
