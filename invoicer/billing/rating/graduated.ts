import { formatQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { BreakdownEntry, Rated } from './breakdown.ts'
import type { GraduatedPrice, Tier } from './price.ts'
import { priceDecimal } from './price-decimal.ts'
import { type Entered, enteredTiers } from './tiers.ts'

/** Each unit is priced in its own tier, and a tier's flat amount is charged once it is entered; the first one's always. */
export function rateGraduated(price: GraduatedPrice, quantity: Quantity): Rated {
  let exact = ZERO
  const breakdown: BreakdownEntry[] = []
  for (const entered of enteredTiers(price.tiers, quantity)) {
    const part = rateTier(entered)
    exact = exact.plus(part.exact)
    breakdown.push(part.entry)
  }
  return { exact, breakdown }
}

/** The units in one tier, and its flat amount. */
export function rateTier({ tier, number, upTo, quantity }: Entered<Tier>): { exact: Quantity; entry: BreakdownEntry } {
  const unitAmount = priceDecimal(tier.unit_amount)
  const flatAmount = priceDecimal(tier.flat_amount ?? '0')
  const exact = unitAmount.value.times(quantity).plus(flatAmount.value)
  const entry: BreakdownEntry = {
    type: 'tier',
    tier: number,
    up_to: upTo === null ? null : upTo.text,
    quantity: formatQuantity(quantity),
    unit_amount: unitAmount.text,
    flat_amount: flatAmount.text,
    amount: formatQuantity(exact),
  }
  return { exact, entry }
}
