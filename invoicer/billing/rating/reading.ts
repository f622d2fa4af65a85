import { parseQuantity } from '../../../schemas/quantity.ts'
import type { Price } from './price.ts'

/**
 * What a price needs to know of usage, where no value is below 0: the total; the number of events too; each event, in any
 * order; or all of them in the order of (time, known_at).
 */
export type Reading = 'total' | 'count' | 'events' | 'order'

/** Units that are free or included go to the first events, so that it matters which these are if events cost by themselves. */
export function readingOf(price: Price): Reading {
  if (price.model !== 'matrix' && price.model !== 'percentage') return 'total'
  const hasIncluded = isGiven(price.included_units)
  if (price.model === 'matrix') return hasIncluded ? 'order' : 'events'
  if (isGiven(price.free_events)) return 'order'
  const isBounded = isGiven(price.min_per_event) || price.max_per_event !== undefined
  if (!isBounded && !isGiven(price.fixed_amount)) return 'total'
  if (hasIncluded || isGiven(price.free_units)) return 'order'
  return isBounded ? 'events' : 'count'
}

/** 0 is as good as left out. */
function isGiven(decimal: string | undefined): boolean {
  return decimal !== undefined && !parseQuantity(decimal).isZero()
}
