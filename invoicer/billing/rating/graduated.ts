import { formatQuantity, parseQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { BreakdownEntry, GraduatedPrice, Rated } from './price.ts'

/**
 * Each unit is priced in its own tier, and a tier's flat amount is charged once it is entered; the first tier is
 * entered at 0 already. The breakdown lists the entered tiers. What is below 0 counts in the first tier.
 */
export function rateGraduated(price: GraduatedPrice, quantity: Quantity): Rated {
  let exact = ZERO
  let lower = ZERO
  const breakdown: BreakdownEntry[] = []
  for (const [index, tier] of price.tiers.entries()) {
    if (index > 0 && quantity.lessThanOrEqualTo(lower)) break
    const upper = tier.up_to === null ? undefined : parseQuantity(tier.up_to)
    const reached = upper?.lessThan(quantity) ? upper : quantity
    const inTier = reached.minus(lower)
    const unitAmount = parseQuantity(tier.unit_amount)
    const flatAmount = parseQuantity(tier.flat_amount ?? '0')
    const amount = unitAmount.times(inTier).plus(flatAmount)
    exact = exact.plus(amount)
    breakdown.push({
      type: 'tier',
      tier: index + 1,
      up_to: upper === undefined ? null : formatQuantity(upper),
      quantity: formatQuantity(inTier),
      unit_amount: formatQuantity(unitAmount),
      flat_amount: formatQuantity(flatAmount),
      amount: formatQuantity(amount),
    })
    lower = reached
  }
  return { exact, breakdown }
}
