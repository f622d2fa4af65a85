import { formatMoney, parseMoney } from '../../../schemas/money.ts'

/** What a subscription should cost in a billing period, and from which shares or amounts of spend to tell. */
export type Budget = { amountMinor: bigint; currency: string; thresholds: readonly string[] }

/** A level of a budget: as it is written, and the spend from which it is reached. */
export type Level = { text: string; minor: bigint }

/**
 * A threshold as it is stored: '80%' of the budget, or '250.00' of the currency. Equal levels have equal texts.
 * @throws Problem invalid_request for what is no amount in the currency.
 */
export function thresholdText(text: string, currency: string): string {
  return text.endsWith('%') ? `${Number(text.slice(0, -1))}%` : formatMoney(parseMoney(text, currency), currency)
}

/** The levels that spend has reached, the lowest first. Where nothing is spent nothing is reached, also of a budget of 0. */
export function levelsReached(spentMinor: bigint, { amountMinor, currency, thresholds }: Budget): Level[] {
  return thresholds
    .map((text) => ({ text, minor: levelMinor(text, amountMinor, currency) }))
    .filter(({ minor }) => spentMinor > 0n && spentMinor >= minor)
    .sort((a, b) => (a.minor < b.minor ? -1 : a.minor > b.minor ? 1 : 0))
}

/** A share is rounded up: a level is not told before it is reached. */
function levelMinor(text: string, amountMinor: bigint, currency: string): bigint {
  if (!text.endsWith('%')) return parseMoney(text, currency)
  return (amountMinor * BigInt(text.slice(0, -1)) + 99n) / 100n
}
