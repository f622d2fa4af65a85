import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import { isCountry } from '../../agreements/customers/country.ts'
import { vatCountryOf } from '../../agreements/customers/eu.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { findTaxRate, insertTaxRate, type TaxRate } from './tax-rates.postgres.ts'

export type CreateTaxRate = Omit<TaxRate, 'id' | 'createdAtMs'>

/**
 * Adds a rate of the tenant's own for a country, which wins over that of the open data from then on: once per country
 * and day, the same again answers the stored one. Invoices that are issued keep theirs.
 * @throws Problem invalid_request for what is no country or rate; conflict for another rate from the same day on.
 */
export async function createTaxRate(
  tx: TenantTransaction,
  input: CreateTaxRate,
  means: Means,
): Promise<{ rate: TaxRate; created: boolean }> {
  const errors = checkRate(input)
  if (errors.length > 0) throw new Problem('invalid_request', 'The tax rate is not valid.', { errors })
  const ratePercent = formatQuantity(parseQuantity(input.ratePercent))
  const rate: TaxRate = { ...input, ratePercent, id: means.newId(), createdAtMs: means.now() }
  if (!(await insertTaxRate(tx, rate))) return { rate: await storedRate(tx, rate), created: false }
  const data = {
    country: rate.country,
    kind: rate.kind,
    rate_percent: ratePercent,
    effective_from: rate.from,
    effective_until: rate.until,
  }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'tax_rate.created', data }], rate.createdAtMs)
  return { rate, created: true }
}

function checkRate({ country, ratePercent, from, until }: CreateTaxRate): ProblemError[] {
  const errors: ProblemError[] = []
  if (!isCountry(country)) errors.push({ path: 'country', message: 'This is not a country code of ISO 3166.' })
  const counts = vatCountryOf(country)
  if (counts !== country) errors.push({ path: 'country', message: `It has the VAT of ${counts}: add a rate of that.` })
  const percent = parseQuantity(ratePercent)
  if (percent.isNegative() || percent.greaterThan(100) || percent.decimalPlaces() > 6) {
    errors.push({ path: 'rate_percent', message: 'From 0 to 100, with at most 6 decimals.' })
  }
  if (until !== null && until <= from) {
    errors.push({ path: 'effective_until', message: 'It must come after effective_from.' })
  }
  return errors
}

async function storedRate(tx: TenantTransaction, wanted: TaxRate): Promise<TaxRate> {
  const stored = await findTaxRate(tx, wanted.country, wanted.from)
  if (stored === undefined) throw new Problem('internal', 'A stored tax rate could not be read.')
  const { kind, ratePercent, until } = wanted
  if (stored.kind === kind && stored.ratePercent === ratePercent && stored.until === until) return stored
  throw new Problem(
    'conflict',
    `${wanted.country} has a rate of ${stored.ratePercent} % from that day on, which never changes: add one from a later.`,
  )
}
