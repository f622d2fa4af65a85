import type { Interval } from '../../../schemas/time/period.ts'

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

/** What is charged each period, in arrears. A plan never changes once it is stored. */
export type Plan<Price extends AgreedPrice = AgreedPrice> = {
  id: string
  key: string
  name: string
  currency: string
  interval: Interval
  alignment: Alignment
  /** How long a period stays open for late usage after its end. */
  graceSeconds: number
  charges: Charge<Price>[]
  createdAtMs: number
}
