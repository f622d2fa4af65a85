import { microOf } from './micro.ts'
import type { QuotaOptions } from './settings.ts'

/** Draws since the last lease was asked for, and what is known of the limit. */
export type Demand = {
  drawnMicro: number
  elapsedMs: number
  /** In millionths a millisecond, as estimated at the last lease; undefined before the first. */
  rate: number | undefined
  /** To be covered at least. */
  neededMicro: number
  /** Of the limit, as the server said last. */
  remainingMicro: number | undefined
}
export type LeaseSize = { micro: number; rate: number }

/** A burst of a moment is no rate. */
const SHORTEST_LOOK_MS = 100
const LARGEST_MICRO = 9e15

/**
 * A lease lasts `targetMs` at the present rate, but takes no more than `share` of what remains of the limit, so that little
 * is outstanding near its end; there it lasts `shortestMs` at least, so that the server is not asked for every decision.
 */
export function nextLease(demand: Demand, options: Required<QuotaOptions>): LeaseSize {
  const { drawnMicro, elapsedMs, neededMicro, remainingMicro } = demand
  const firstMicro = Math.min(LARGEST_MICRO, Math.max(neededMicro, microOf(options.firstQuantity)))
  if (demand.rate === undefined) return { micro: firstMicro, rate: 0 }
  // A pause halves what is believed of the rate, and no more.
  const rate = Math.max(drawnMicro / Math.max(elapsedMs, SHORTEST_LOOK_MS), demand.rate / 2)
  const share = remainingMicro === undefined ? firstMicro : remainingMicro * options.share
  const most = Math.max(share, rate * options.shortestMs)
  const micro = Math.ceil(Math.max(neededMicro, Math.min(rate * options.targetMs, most)))
  return { micro: Math.min(micro, LARGEST_MICRO), rate }
}
