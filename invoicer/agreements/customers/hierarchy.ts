import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Customer, PlaceAmongCustomers } from './customer.ts'
import { levelsBelow, listUpwards, lockHierarchy, updatePayersBelow, updatePlace } from './hierarchy.postgres.ts'

/** So many levels a hierarchy has at most, its top included. */
const MOST_LEVELS = 5

export const ALONE: PlaceAmongCustomers = { parent: null, pays: 'self', consolidate: false }

/**
 * Puts a stored customer where it is to stand, and settles who pays for it and for all below. In the caller's transaction;
 * nobody else changes a hierarchy of the tenant until its end. Invoices from the next run's chunk on follow it.
 * @throws Problem invalid_request for a parent that is not there, has another currency or stands below the customer, for
 * too many levels, and where nobody is there to pay.
 */
export async function placeCustomer(
  tx: TenantTransaction,
  customer: Pick<Customer, 'id' | 'externalKey' | 'currency'> & PlaceAmongCustomers,
): Promise<void> {
  await lockHierarchy(tx)
  const { parent, pays } = customer
  if (pays === 'parent' && parent === null) {
    throw refused('pays', 'There is no parent to pay: name one, or let the customer pay itself.')
  }
  if (parent !== null) await checkParent(tx, customer, parent)
  await updatePlace(tx, customer)
  await updatePayersBelow(tx, customer.id)
}

async function checkParent(
  tx: TenantTransaction,
  { id, externalKey, currency }: Pick<Customer, 'id' | 'externalKey' | 'currency'>,
  parent: string,
): Promise<void> {
  if (parent === externalKey) throw refused('parent', 'A customer is not its own parent.')
  const upwards = await listUpwards(tx, parent)
  const [found] = upwards
  if (found === undefined) throw refused('parent', 'There is no customer with this external key.')
  if (found.currency !== currency) {
    throw refused('parent', `It must have the currency of the customer, which is ${currency}: credit pays in one.`)
  }
  if (upwards.some((one) => one.id === id)) throw refused('parent', 'It stands below this customer already.')
  if (upwards.length + (await levelsBelow(tx, id)) > MOST_LEVELS) {
    throw refused('parent', `A hierarchy has at most ${MOST_LEVELS} levels.`)
  }
}

function refused(path: string, message: string): Problem {
  return new Problem('invalid_request', 'The place of the customer is not valid.', { errors: [{ path, message }] })
}
