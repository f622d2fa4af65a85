import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { type ChangedAddress, mergedAddress } from '../customers/billing-details.ts'
import { checkEntity } from './check-entity.ts'
import { lockLegalEntity, updateLegalEntity } from './legal-entities.postgres.ts'
import type { LegalEntity, TaxSettings } from './legal-entity.ts'

export type ChangeLegalEntity = Partial<Pick<LegalEntity, 'name' | 'registrations'>> & {
  address?: ChangedAddress
  tax?: Partial<TaxSettings>
}

/**
 * Changes what is given, of the address its members, and leaves the rest; the same again changes nothing. Country,
 * currency and numbers stay as they were. Invoices from now on follow it, those that are issued stay.
 * @throws Problem not_found; invalid_request for what is no country, and for tax without a registration.
 */
export async function changeLegalEntity(
  tx: TenantTransaction,
  key: string,
  { tax, address, ...change }: ChangeLegalEntity,
  means: Means,
): Promise<LegalEntity> {
  const stored = await lockLegalEntity(tx, key)
  if (stored === undefined) throw new Problem('not_found', 'There is no legal entity with this key.')
  const newAddress = address ? mergedAddress(stored.address, address) : address === null ? null : stored.address
  const changed = { ...stored, ...change, address: newAddress ?? null, tax: { ...stored.tax, ...tax } }
  const errors = checkEntity(changed)
  if (newAddress === undefined) errors.push({ path: 'address.country', message: 'Say at least the country.' })
  if (errors.length > 0) throw new Problem('invalid_request', 'The change is not valid.', { errors })
  if (isDeepStrictEqual(changed, stored)) return stored
  await updateLegalEntity(tx, changed)
  const data = { legal_entity: key, tax_registrations: changed.registrations, tax: changed.tax }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'legal_entity.updated', data }], means.now())
  return changed
}
