import type { Interval } from '../../../schemas/time/period.ts'

/** What is sold: plans by currency and interval, and what a unit costs that is sold once. */
export type Product = {
  id: string
  key: string
  name: string
  description: string | null
  /** Texts by name, for whoever sells it. */
  metadata: Readonly<Record<string, string>>
  /** What a unit costs that is sold once, by currency: a decimal in major units. */
  prices: Readonly<Record<string, string>>
  /** From then on nothing new of it is sold; what is subscribed to goes on. */
  archivedAtMs: number | null
  createdAtMs: number
}

/** A plan of a product, in the version in effect at a time. */
export type PlanOfProduct = {
  key: string
  version: number
  name: string
  currency: string
  interval: Interval
  every: number
  /** Nobody subscribes to an add-on by itself. */
  kind: 'base' | 'add_on'
  archivedAtMs: number | null
}
