import type { Interval } from '../../../schemas/time/period.ts'
import type { AgreedPrice, Charge } from '../plans/plan.ts'

/** What of a plan is otherwise for a customer: charges by their key with another price, or null: left out; and further ones. */
export type Overrides<Price extends AgreedPrice = AgreedPrice> = {
  charges?: Readonly<Record<string, { price: Price } | null>>
  add?: readonly Charge<Price>[]
}

/** By the calendar of the customer's zone. */
export type Duration = { interval: Interval; count: number }

/** A part of a ramp. `plan`: left out, that of the subscription. `for`: how long; the last one lasts to the end. */
export type RampPhase = { plan?: string; overrides?: Overrides; for?: Duration }

export const RENEWALS = ['renew', 'end'] as const
export const RENEWAL_PRICES = ['same', 'catalog'] as const
/**
 * A term that was signed for, from the start on. `renew`: another one follows, and so on; with the price of `catalog` it
 * is the plan without its overrides from then on. Whoever cancels with the term says so `noticeDays` before its end.
 */
export type Term = Duration & {
  renewal: (typeof RENEWALS)[number]
  renewOn: (typeof RENEWAL_PRICES)[number]
  noticeDays: number
}

/** What was agreed beside the plan as the subscription was created. Overrides of all of it, or of each phase. */
export type AgreedTerms = { overrides?: Overrides; phases?: readonly RampPhase[]; term?: Term }
