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
import type { Customer, PlaceAmongCustomers } from './customer.ts'
import { lockCustomer, updateDetails } from './customers.postgres.ts'
import { lockHierarchy } from './hierarchy.postgres.ts'
import { placeCustomer } from './hierarchy.ts'
import { readCustomer } from './read-customer.ts'

/**
 * Changes what is given, of the address its members, and leaves the rest; the same again changes nothing. Invoices from
 * now on follow it, those that are issued stay.
 * @throws Problem not_found; invalid_request for an address without a country, an unknown country or legal entity, a VAT
 * number that is none, or a place among customers that cannot be.
 */
export async function changeCustomer(
  tx: TenantTransaction,
  idOrKey: string,
  { billingAddress, ...given }: ChangedDetails & Partial<PlaceAmongCustomers>,
  means: Means,
): Promise<Customer> {
  const { id } = await readCustomer(tx, idOrKey)
  // Before the customer, as for whoever settles who pays for those below it.
  if (isPlaceGiven(given)) await lockHierarchy(tx)
  await lockCustomer(tx, id)
  const stored = await readCustomer(tx, id)
  const change = { ...withPlainTaxIds(given), ...addressOf(stored, billingAddress) }
  const errors = await checkDetails(tx, change)
  if (errors.length > 0) throw new Problem('invalid_request', 'The change is not valid.', { errors })
  const changed = { ...stored, ...change }
  if (isDeepStrictEqual(changed, stored)) return stored
  if (hasMoved(stored, changed)) await placeCustomer(tx, changed)
  await updateDetails(tx, changed)
  const data = {
    kind: changed.kind,
    billing_country: changed.billingAddress?.country ?? null,
    tax_ids: changed.taxIds,
    tax_exemption: changed.taxExemption,
    legal_entity: changed.legalEntity,
    ...(hasMoved(stored, changed)
      ? { parent: changed.parent, pays: changed.pays, consolidate: changed.consolidate }
      : {}),
  }
  await insertBillingEvents(tx, [{ id: means.newId(), event: 'customer.updated', customerId: id, data }], means.now())
  return changed
}

function isPlaceGiven({ parent, pays, consolidate }: Partial<PlaceAmongCustomers>): boolean {
  return parent !== undefined || pays !== undefined || consolidate !== undefined
}

/** Most stand alone, and nothing of this is looked at. */
function hasMoved(stored: PlaceAmongCustomers, changed: PlaceAmongCustomers): boolean {
  return stored.parent !== changed.parent || stored.pays !== changed.pays || stored.consolidate !== changed.consolidate
}

function addressOf(stored: Customer, change: ChangedAddress | undefined): { billingAddress?: Address | null } {
  if (change === undefined) return {}
  if (change === null) return { billingAddress: null }
  const billingAddress = mergedAddress(stored.billingAddress, change)
  if (billingAddress !== undefined) return { billingAddress }
  const errors = [{ path: 'billing_address.country', message: 'There is no address yet: say at least its country.' }]
  throw new Problem('invalid_request', 'The change is not valid.', { errors })
}
