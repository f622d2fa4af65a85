import { formatQuantity, type Quantity, ZERO } from '../../../schemas/quantity.ts'
import type { BreakdownEntry, Rated } from './breakdown.ts'
import type { GraduatedPercentagePrice } from './price.ts'
import { priceDecimal } from './price-decimal.ts'
import { enteredTiers } from './tiers.ts'

/** Of the total each part pays the rate of its own tier, and an entered tier's flat amount; the first one's always. */
export function rateGraduatedPercentage(price: GraduatedPercentagePrice, quantity: Quantity): Rated {
  let exact = ZERO
  const breakdown = enteredTiers(price.tiers, quantity).map((entered): BreakdownEntry => {
    const rate = priceDecimal(entered.tier.rate)
    const flatAmount = priceDecimal(entered.tier.flat_amount ?? '0')
    const amount = entered.quantity.times(rate.value).div(100).plus(flatAmount.value)
    exact = exact.plus(amount)
    return {
      type: 'tier',
      tier: entered.number,
      up_to: entered.upTo === null ? null : entered.upTo.text,
      quantity: formatQuantity(entered.quantity),
      rate: rate.text,
      flat_amount: flatAmount.text,
      amount: formatQuantity(amount),
    }
  })
  return { exact, breakdown }
}
