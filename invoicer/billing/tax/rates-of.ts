import { openRateOn } from './open-rates.ts'
import type { CountryRate, RateOn } from './tax.ts'

/** A rate of the tenant's own, from a day on and before another; null: without end. */
export type OwnRate = CountryRate & { country: string; from: string; until: string | null }

/** The tenant's own rates, of several in force the one that began last; where there is none, the open data's. */
export function rateOnOf(own: readonly OwnRate[]): RateOn {
  if (own.length === 0) return openRateOn
  const latestFirst = [...own].sort((a, b) => (a.from < b.from ? 1 : -1))
  return (country, day) =>
    latestFirst.find(
      (rate) => rate.country === country && rate.from <= day && (rate.until === null || day < rate.until),
    ) ?? openRateOn(country, day)
}
