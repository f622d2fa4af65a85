import { parseMoney } from '../../../schemas/money.ts'
import { levelsReached } from '../../billing/budgets/levels.ts'

/** Levels of prepaid credit: shares of a fill that are used up, '80%', and amounts that are still available, '10.00'. */
export type CreditThresholds = { used: readonly string[]; remaining: readonly string[] }

/** What comes with a customer's first credit. */
export const DEFAULT_CREDIT_THRESHOLDS: CreditThresholds = { used: ['50%', '80%', '100%'], remaining: [] }

/**
 * How a customer stands in the fill that began with its latest grant: what it had right behind that grant, and what it
 * has not spent now, which is below 0 where more is spent than there is.
 */
export type CreditStanding = { baseMinor: bigint; availableMinor: bigint; currency: string }

/** Never below 0, and above the base where more is spent than there was. */
export function usedMinor({ baseMinor, availableMinor }: CreditStanding): bigint {
  return availableMinor < baseMinor ? baseMinor - availableMinor : 0n
}

/** The levels as they are told, each once in a fill. */
export function levelTexts({ used, remaining }: CreditThresholds): string[] {
  return [...used, ...remaining.map(leftText)]
}

/** Those that are reached: of what is used the lowest first, then of what is left the highest. */
export function creditLevelsReached(standing: CreditStanding, { used, remaining }: CreditThresholds): string[] {
  const { baseMinor, availableMinor, currency } = standing
  const shares = levelsReached(usedMinor(standing), { amountMinor: baseMinor, currency, thresholds: used })
  const left = remaining
    .map((text) => ({ text: leftText(text), minor: parseMoney(text, currency) }))
    .filter(({ minor }) => availableMinor <= minor)
    .sort((a, b) => (a.minor > b.minor ? -1 : a.minor < b.minor ? 1 : 0))
  return [...shares, ...left].map(({ text }) => text)
}

function leftText(amount: string): string {
  return `${amount} left`
}
