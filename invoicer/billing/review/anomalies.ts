import { roundToMinor } from '../../../schemas/money.ts'
import { parseQuantity, quantityOfInteger } from '../../../schemas/quantity.ts'
import type { RunDraft } from './draft.ts'
import type { Anomaly, AnomalyRules } from './rules.ts'

/**
 * What is unusual about a draft by these rules, in their order. A change counts when it is at least as large as both its
 * bounds; from 0 every rise is large enough in percent. What stands beside the periods is compared with nothing; the first
 * fees in advance are a first invoice nevertheless.
 */
export function anomaliesOf(draft: RunDraft, rules: AnomalyRules): Anomaly[] {
  if (draft.offCycle && draft.isFirstFees !== true) return []
  if (draft.kind === 'parked') return rules.parked ? ['parked'] : []
  const { amountMinor, previousMinor, currency } = draft
  if (draft.kind === 'missing') return rules.missing && (previousMinor ?? 0n) > 0n ? ['missing'] : []
  if (previousMinor === null) {
    const { first_invoice_above: above } = rules
    const isAbove = above !== null && amountMinor > roundToMinor(parseQuantity(above), currency)
    return isAbove ? ['first_invoice_above'] : []
  }
  const riseMinor = amountMinor - previousMinor
  return [
    ...(isLarge(riseMinor, previousMinor, rules.spike, currency) ? ['spike' as const] : []),
    ...(isLarge(-riseMinor, previousMinor, rules.drop, currency) ? ['drop' as const] : []),
    ...(rules.zero && previousMinor > 0n && amountMinor === 0n ? ['zero' as const] : []),
  ]
}

function isLarge(changeMinor: bigint, previousMinor: bigint, bounds: AnomalyRules['spike'], currency: string): boolean {
  if (bounds === null || changeMinor <= 0n) return false
  if (changeMinor < roundToMinor(parseQuantity(bounds.amount), currency)) return false
  const baseMinor = previousMinor < 0n ? -previousMinor : previousMinor
  const least = quantityOfInteger(baseMinor).times(parseQuantity(bounds.percent))
  return quantityOfInteger(changeMinor).times(100).gte(least)
}
