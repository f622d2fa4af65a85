import { type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { Rated } from './breakdown.ts'
import { rateTier } from './graduated.ts'
import type { VolumePrice } from './price.ts'
import { reachedTier } from './tiers.ts'

/** All units at the price of the tier that the total reaches, plus that tier's flat amount; at 0 the first tier's. */
export function rateVolume(price: VolumePrice, quantity: Quantity): Rated {
  const reached = reachedTier(price.tiers, quantity)
  if (reached === undefined) return { exact: ZERO, breakdown: [] }
  const { exact, entry } = rateTier(reached)
  return { exact, breakdown: [entry] }
}
