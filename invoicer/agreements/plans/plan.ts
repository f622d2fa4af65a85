import type { Cadence } from '../../../schemas/time/period.ts'

export type Alignment = 'calendar' | 'anniversary'

/** A price as an agreement holds it: which fields it has is the business of rating (`billing/rating/price.ts`). */
export type AgreedPrice = { model: string }

/** What makes one line of an invoice: a flat price without a meter, or a price of what a meter counted. */
export type Charge<Price extends AgreedPrice = AgreedPrice> = {
  key: string
  name: string
  meter: string | null
  price: Price
}

/** What is charged each period, in arrears. A period is `every` intervals long. */
export type PlanContent<Price extends AgreedPrice = AgreedPrice> = Cadence & {
  name: string
  currency: string
  alignment: Alignment
  /** How long a period stays open for late usage after its end. */
  graceSeconds: number
  /** What of a cut period is counted: its seconds, or the calendar days of the customer's zone. */
  prorationBasis: 'second' | 'day'
  charges: Charge<Price>[]
}

/** A version of the plan `key`. It never changes once it is stored; whoever is on it stays on it until moved. */
export type Plan<Price extends AgreedPrice = AgreedPrice> = PlanContent<Price> & {
  id: string
  key: string
  /** 1, 2, 3 … without a gap. */
  version: number
  /** Subscriptions and changes made after it that begin from then on take it; null, of version 1: always in effect. */
  effectiveFromMs: number | null
  /** Of the content that decides amounts (`plan-hash.ts`); invoices quote it. */
  hash: string
  createdAtMs: number
}
