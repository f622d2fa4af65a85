import { type Quantity, ZERO } from '../../../schemas/quantity.ts'
import { type PriceDecimal, priceDecimal } from './price-decimal.ts'

type Bounded = { up_to: string | null }
/** A tier that a quantity enters, its number from 1, its bound, and how much of the quantity lies in it. */
export type Entered<Tier extends Bounded> = {
  tier: Tier
  number: number
  upTo: PriceDecimal | null
  quantity: Quantity
}

/** Each unit in its own tier. The first tier is entered at 0 already, and what is below 0 counts in it. */
export function enteredTiers<Tier extends Bounded>(tiers: readonly Tier[], quantity: Quantity): Entered<Tier>[] {
  const entered: Entered<Tier>[] = []
  let lower = ZERO
  for (const [index, tier] of tiers.entries()) {
    if (index > 0 && quantity.lessThanOrEqualTo(lower)) break
    const upTo = tier.up_to === null ? null : priceDecimal(tier.up_to)
    const reached = upTo?.value.lessThan(quantity) ? upTo.value : quantity
    entered.push({ tier, number: index + 1, upTo, quantity: reached.minus(lower) })
    lower = reached
  }
  return entered
}

/** The tier that a total reaches: a bound belongs to the tier below it, and what is below 0 to the first. */
export function reachedTier<Tier extends Bounded>(
  tiers: readonly Tier[],
  quantity: Quantity,
): Entered<Tier> | undefined {
  for (const [index, tier] of tiers.entries()) {
    const upTo = tier.up_to === null ? null : priceDecimal(tier.up_to)
    if (upTo === null || quantity.lessThanOrEqualTo(upTo.value)) return { tier, number: index + 1, upTo, quantity }
  }
  return undefined
}
