import type { Cadence } from '../../../schemas/time/period.ts'

export type Alignment = 'calendar' | 'anniversary'

/** A price as an agreement holds it: which fields it has is the business of rating (`billing/rating/price.ts`). */
export type AgreedPrice = { model: string }

/**
 * How much of what a fee is priced by, such as seats, holds where nothing is agreed, and between what it may lie. Decimals.
 */
export type AgreedQuantity = { default: string; min?: string; max?: string }

/**
 * What makes one line of an invoice: a fee, which has no meter and a flat price or one of an agreed quantity, or a price of
 * what a meter counted.
 */
export type Charge<Price extends AgreedPrice = AgreedPrice> = {
  key: string
  name: string
  meter: string | null
  price: Price
  /** Of a fee that is not flat. */
  quantity?: AgreedQuantity
  /** Properties of its events that its line lists, such as payer and code (HC-13): dotted paths inside their data. */
  attributes?: readonly string[]
  /** What is sold, where its tax is another one (tax-class.ts). */
  taxClass?: string
}

export const FEE_TIMES = ['in_advance', 'in_arrears'] as const
/** When the fees of a period, its charges without a meter, are billed: as it begins, or when it is over, as usage always is. */
export type FeeTime = (typeof FEE_TIMES)[number]

/** What is charged each period. A period is `every` intervals long. */
export type PlanContent<Price extends AgreedPrice = AgreedPrice> = Cadence & {
  name: string
  currency: string
  alignment: Alignment
  /** How long a period stays open for late usage after its end. */
  graceSeconds: number
  /** What of a cut period is counted: its seconds, or the calendar days of the customer's zone. */
  prorationBasis: 'second' | 'day'
  fees: FeeTime
  /** It is added to a subscription, and is none by itself; left out: it can be subscribed to. */
  kind?: 'add_on'
  charges: Charge<Price>[]
}

/** Whether it has fees, and bills them as their period begins. */
export function billsFeesAhead({ fees, charges }: Pick<PlanContent, 'fees' | 'charges'>): boolean {
  return fees === 'in_advance' && charges.some(({ meter }) => meter === null)
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
  /**
   * Of a private version, which was agreed with one customer: from which version of the catalogue it was derived; it has
   * the key, number and date of that. Left out: it is one of the catalogue.
   */
  agreed?: { baseId: string; customerId: string }
  createdAtMs: number
}
