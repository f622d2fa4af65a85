import { formatQuantity, parseQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { BreakdownEntry, Rated } from './breakdown.ts'
import type { GraduatedPercentagePrice } from './price.ts'
import { enteredTiers } from './tiers.ts'

/** Of the total each part pays the rate of its own tier, and an entered tier's flat amount; the first one's always. */
export function rateGraduatedPercentage(price: GraduatedPercentagePrice, quantity: Quantity): Rated {
  let exact = ZERO
  const breakdown = enteredTiers(price.tiers, quantity).map((entered): BreakdownEntry => {
    const rate = parseQuantity(entered.tier.rate)
    const flatAmount = parseQuantity(entered.tier.flat_amount ?? '0')
    const amount = entered.quantity.times(rate).div(100).plus(flatAmount)
    exact = exact.plus(amount)
    return {
      type: 'tier',
      tier: entered.number,
      up_to: entered.upTo === null ? null : formatQuantity(entered.upTo),
      quantity: formatQuantity(entered.quantity),
      rate: formatQuantity(rate),
      flat_amount: formatQuantity(flatAmount),
      amount: formatQuantity(amount),
    }
  })
  return { exact, breakdown }
}
