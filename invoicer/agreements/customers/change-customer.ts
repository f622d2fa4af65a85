import { isDeepStrictEqual } from 'node:util'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import {
  type Address,
  type ChangedAddress,
  type ChangedDetails,
  checkDetails,
  mergedAddress,
  withPlainTaxIds,
} from './billing-details.ts'
import type { Customer } from './customer.ts'
import { lockCustomer, updateDetails } from './customers.postgres.ts'
import { readCustomer } from './read-customer.ts'

/**
 * Changes what is given, of the address its members, and leaves the rest; the same again changes nothing. Invoices from
 * now on follow it, those that are issued stay.
 * @throws Problem not_found; invalid_request for an address without a country, an unknown country or legal entity, or a VAT
 * number that is none.
 */
export async function changeCustomer(
  tx: TenantTransaction,
  idOrKey: string,
  { billingAddress, ...given }: ChangedDetails,
  means: Means,
): Promise<Customer> {
  const { id } = await readCustomer(tx, idOrKey)
  await lockCustomer(tx, id)
  const stored = await readCustomer(tx, id)
  const change = { ...withPlainTaxIds(given), ...addressOf(stored, billingAddress) }
  const errors = await checkDetails(tx, change)
  if (errors.length > 0) throw new Problem('invalid_request', 'The change is not valid.', { errors })
  const changed = { ...stored, ...change }
  if (isDeepStrictEqual(changed, stored)) return stored
  await updateDetails(tx, changed)
  const data = {
    kind: changed.kind,
    billing_country: changed.billingAddress?.country ?? null,
    tax_ids: changed.taxIds,
    tax_exemption: changed.taxExemption,
    legal_entity: changed.legalEntity,
  }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'customer.updated', customerId: id, data }], means.now())
  return changed
}

function addressOf(stored: Customer, change: ChangedAddress | undefined): { billingAddress?: Address | null } {
  if (change === undefined) return {}
  if (change === null) return { billingAddress: null }
  const billingAddress = mergedAddress(stored.billingAddress, change)
  if (billingAddress !== undefined) return { billingAddress }
  const errors = [{ path: 'billing_address.country', message: 'There is no address yet: say at least its country.' }]
  throw new Problem('invalid_request', 'The change is not valid.', { errors })
}
