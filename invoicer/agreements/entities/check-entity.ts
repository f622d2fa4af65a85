import type { ProblemError } from '../../../schemas/http/problem.ts'
import { isCurrency } from '../../../schemas/money.ts'
import { isCountry } from '../customers/country.ts'
import type { LegalEntity } from './legal-entity.ts'

const PREFIX = /^[A-Z0-9][A-Z0-9-]{0,15}$/
/** Of the tenant's own series, and of credit notes: theirs go on with the prefix of the legal entity. */
const RESERVED_PREFIX = /^(INV|CN|CN-.*)$/

export function checkEntity(entity: Omit<LegalEntity, 'id' | 'createdAtMs'>): ProblemError[] {
  const errors: ProblemError[] = []
  const checkCountry = (path: string, country: string) => {
    if (!isCountry(country)) errors.push({ path, message: 'This is not a country code of ISO 3166.' })
  }
  checkCountry('country', entity.country)
  if (entity.address !== null) checkCountry('address.country', entity.address.country)
  for (const [index, { country }] of entity.registrations.entries()) {
    checkCountry(`tax_registrations.${index}.country`, country)
  }
  if (entity.tax.enabled && entity.registrations.length === 0) {
    const message =
      'Tax is on: give the countries in which it is registered with its numbers, or set tax.enabled to false.'
    errors.push({ path: 'tax_registrations', message })
  }
  if (entity.defaultCurrency !== null && !isCurrency(entity.defaultCurrency)) {
    errors.push({ path: 'default_currency', message: 'This is not an active ISO 4217 currency.' })
  }
  if (!PREFIX.test(entity.numberPrefix) || RESERVED_PREFIX.test(entity.numberPrefix)) {
    errors.push({
      path: 'number_prefix',
      message: 'Up to 16 of A–Z, 0–9 and -, beginning with a letter or digit; INV, CN and CN-… are taken.',
    })
  }
  return errors
}
