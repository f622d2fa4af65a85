import { createRequire } from 'node:module'
import { formatQuantity, quantityFromJson } from '../../../schemas/quantity.ts'
import type { CountryRate, RateOn } from './tax.ts'

/** As the data has it. Keys of `before` are instants until which another rate held. */
type OpenRate = { type: string; rate: number; before?: Record<string, { type: string; rate: number }> }
/** Days before which it holds, in order; the last has no end. */
type RateUntil = CountryRate & { until: string | null }

/**
 * Countries whose rate in the data is known to be wrong, and why. They have none here, so invoices there wait for a rate
 * of the tenant's own.
 */
const NOT_TRUSTED: ReadonlyMap<string, string> = new Map([
  ['BH', 'has 5 %; it is 10 % since 2022'],
  ['EC', 'has 12 %; it is 15 % since 2024'],
  ['KW', 'has 5 %; no VAT is in force'],
  ['LK', 'has 12 %; it is 18 % since 2024'],
  ['PK', 'has 17 %; it is 18 % since 2023'],
  ['QA', 'has 5 %; no VAT is in force'],
  ['TH', 'has 10 % since 2023; it stayed at 7 %'],
])

/** Changes that the data lacks or has on another day: those of Liechtenstein, Romania (Law 141/2025), Türkiye (Decree 7346). */
const CORRECTED: ReadonlyMap<string, readonly RateUntil[]> = new Map([
  ['LI', [vat('7.7', '2024-01-01'), vat('8.1', null)]],
  ['RO', [vat('19', '2025-08-01'), vat('21', null)]],
  ['TR', [vat('18', '2023-07-10'), vat('20', null)]],
])

const HOUR_MS = 3_600_000

let rates: ReadonlyMap<string, readonly RateUntil[]> | undefined

/**
 * Standard rates of VAT and GST by country, from the data of the package `sales-tax` (MIT; kept up to date by its
 * maintainers); none of its code is run, and nothing is asked over the network. Countries with taxes of their regions only
 * have no rate here, and what regions add is left out. Read when first asked for.
 */
export const openRateOn: RateOn = (country, day) => {
  rates ??= ratesOf(createRequire(import.meta.url)('sales-tax/res/sales_tax_rates.json'))
  return rates.get(country)?.find(({ until }) => until === null || day < until)
}

function ratesOf(data: Record<string, OpenRate>): Map<string, readonly RateUntil[]> {
  const taxing = Object.entries(data).filter(([country, { type }]) => type !== 'none' && !NOT_TRUSTED.has(country))
  const found = taxing.map(([country, { before = {}, ...current }]): [string, readonly RateUntil[]] => {
    const ended = Object.entries(before).sort(([a], [b]) => Date.parse(a) - Date.parse(b))
    return [country, [...ended.map(([until, rate]) => rateUntil(rate, dayOf(until))), rateUntil(current, null)]]
  })
  return new Map([...found, ...CORRECTED])
}

function vat(ratePercent: string, until: string | null): RateUntil {
  return { kind: 'vat', ratePercent, until }
}

function rateUntil({ type, rate }: { type: string; rate: number }, until: string | null): RateUntil {
  return { kind: type, ratePercent: formatQuantity(quantityFromJson(rate).times(100)), until }
}

/** The data has midnights of somewhere in Europe, two or three hours before those of UTC; laws name days. */
function dayOf(until: string): string {
  return new Date(Date.parse(until) + 3 * HOUR_MS).toISOString().slice(0, 10)
}
