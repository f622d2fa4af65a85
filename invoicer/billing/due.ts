import type { Period } from '../../schemas/time/period.ts'
import { periodsFrom } from '../agreements/subscriptions/periods.ts'
import type { Terms } from '../agreements/subscriptions/subscription.ts'

/** A subscription with at least one period due, and what rating needs to know of it. */
export type DueSubscription = {
  id: string
  customerId: string
  customerKey: string
  subjects: string[]
  planId: string
  graceMs: number
  terms: Terms
  nextStartMs: number
}

/** Due periods in order, the period after them (undefined once the contract has ended), and whether that is due too. */
export type Due = { periods: Period[]; next: Period | undefined; more: boolean }

/**
 * The periods of a subscription, from the first without an invoice, whose end and grace lie at or before `asOfMs`; at
 * most `limit` of them. The contract's end closes the last period, and is followed by grace like any other.
 */
export function duePeriods(terms: Terms, fromMs: number, graceMs: number, asOfMs: number, limit: number): Due {
  const periods: Period[] = []
  for (const period of periodsFrom(terms, fromMs)) {
    const isDue = period.endMs + graceMs <= asOfMs
    if (!isDue || periods.length === limit) return { periods, next: period, more: isDue }
    periods.push(period)
  }
  return { periods, next: undefined, more: false }
}
