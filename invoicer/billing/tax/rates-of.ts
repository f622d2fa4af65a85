import { openRateOn } from './open-rates.ts'
import type { CountryRate, RateOf, RateOn, RegionalOn } from './tax.ts'

/**
 * A rate of the tenant's own, from a day on and before another; null: without end. `region` and `taxClass` null: of all of the
 * country, of anything.
 */
export type OwnRate = CountryRate & {
  country: string
  region: string | null
  taxClass: string | null
  from: string
  until: string | null
}

/**
 * The tenant's own rates, the most specific first, and of several in force the one that began last; where there is none, the
 * open data's.
 */
export function rateOnOf(own: readonly OwnRate[]): RateOn {
  if (own.length === 0) return openRateOn
  const latestFirst = [...own].sort((a, b) => (a.from < b.from ? 1 : -1))
  return (country, day, of = {}) => {
    const inForce = latestFirst.filter((rate) => isInForce(rate, country, day))
    for (const { region, taxClass } of fromSpecific(of)) {
      const rate = inForce.find((one) => one.region === region && one.taxClass === taxClass)
      if (rate !== undefined) return rate
    }
    return openRateOn(country, day)
  }
}

function fromSpecific(of: RateOf) {
  const [region, taxClass] = [of.region ?? null, of.taxClass ?? null]
  return [
    { region, taxClass },
    { region, taxClass: null },
    { region: null, taxClass },
    { region: null, taxClass: null },
  ]
}

function isInForce(rate: OwnRate, country: string, day: string): boolean {
  return rate.country === country && rate.from <= day && (rate.until === null || day < rate.until)
}

/** Whether a region would say more than its country does: some rate in force is of one, and of anything or of that class. */
export function regionalIn(own: readonly OwnRate[]): RegionalOn {
  const regional = own.filter(({ region }) => region !== null)
  return (country, day, taxClass) =>
    regional.some((rate) => isInForce(rate, country, day) && (rate.taxClass === null || rate.taxClass === taxClass))
}
