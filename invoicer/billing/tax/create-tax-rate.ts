import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { formatQuantity, parseQuantity } from '../../../schemas/quantity.ts'
import { isCountry } from '../../agreements/customers/country.ts'
import { vatCountryOf } from '../../agreements/customers/eu.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { findTaxRate, insertTaxRate, type TaxRate } from './tax-rates.postgres.ts'

/** Region and class left out: of all of the country, of anything. */
export type CreateTaxRate = Omit<TaxRate, 'id' | 'createdAtMs' | 'region' | 'taxClass'> &
  Partial<Pick<TaxRate, 'region' | 'taxClass'>>

/**
 * Adds a rate of the tenant's own for a country, a region of it, a class of what is sold or both, which wins over that of the
 * open data from then on: once per place, class and day, the same again answers the stored one. Invoices that are issued keep theirs.
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
  const { region = null, taxClass = null } = input
  const rate: TaxRate = { ...input, region, taxClass, ratePercent, id: means.newId(), createdAtMs: means.now() }
  if (!(await insertTaxRate(tx, rate))) return { rate: await storedRate(tx, rate), created: false }
  const data = {
    country: rate.country,
    ...(region === null ? {} : { region }),
    ...(taxClass === null ? {} : { tax_class: taxClass }),
    kind: rate.kind,
    rate_percent: ratePercent,
    effective_from: rate.from,
    effective_until: rate.until,
  }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'tax_rate.created', data }], rate.createdAtMs)
  return { rate, created: true }
}

function checkRate({ country, region, ratePercent, from, until }: CreateTaxRate): ProblemError[] {
  const errors: ProblemError[] = []
  if (!isCountry(country)) errors.push({ path: 'country', message: 'This is not a country code of ISO 3166.' })
  const counts = vatCountryOf(country)
  if (counts !== country) errors.push({ path: 'country', message: `It has the VAT of ${counts}: add a rate of that.` })
  if (region && !region.startsWith(`${country}-`)) {
    errors.push({ path: 'region', message: `This is no region of ${country}: its codes begin with ${country}-.` })
  }
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
  const stored = await findTaxRate(tx, wanted)
  if (stored === undefined) throw new Problem('internal', 'A stored tax rate could not be read.')
  const { kind, ratePercent, until } = wanted
  if (stored.kind === kind && stored.ratePercent === ratePercent && stored.until === until) return stored
  throw new Problem(
    'conflict',
    `${wanted.region ?? wanted.country} has a rate of ${stored.ratePercent} % from that day on, which never changes: add one from a later.`,
  )
}
