import { isDeepStrictEqual } from 'node:util'
import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { isCurrency } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { isZone } from '../../../schemas/time/zone.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import { checkDetails, NO_DETAILS, withPlainTaxIds } from './billing-details.ts'
import type { BillingDetails, Customer, PlaceAmongCustomers } from './customer.ts'
import { findCustomerByKey, insertCustomer, insertSubjects } from './customers.postgres.ts'
import { ALONE, placeCustomer } from './hierarchy.ts'

export type CreateCustomer = Pick<Customer, 'externalKey' | 'name' | 'email' | 'currency' | 'timezone' | 'subjects'> &
  Partial<BillingDetails> &
  Partial<PlaceAmongCustomers>

/**
 * Creates a customer once per external key: the same content again answers the stored one.
 * @throws Problem invalid_request for an unknown currency or zone, a VAT number that is none, or a parent that cannot be
 * (hierarchy.ts); conflict for other
 * content under the same key, or a subject that belongs to another customer.
 */
export async function createCustomer(
  tx: TenantTransaction,
  given: CreateCustomer,
  means: Means,
): Promise<{ customer: Customer; created: boolean }> {
  const input = withPlainTaxIds(given)
  const errors = [...checkCustomer(input), ...(await checkDetails(tx, input))]
  if (errors.length > 0) throw new Problem('invalid_request', 'The customer is not valid.', { errors })
  const createdAtMs = means.now()
  const subjects = [...new Set(input.subjects)].sort(byCodePoint)
  const customer: Customer = {
    ...NO_DETAILS,
    ...ALONE,
    ...input,
    id: means.newId(),
    stripeCustomerId: null,
    subjects,
    createdAtMs,
  }
  if (!(await insertCustomer(tx, customer))) {
    return { customer: await storedCustomer(tx, { ...input, subjects }), created: false }
  }
  if (customer.parent !== null || customer.pays === 'parent' || customer.consolidate) await placeCustomer(tx, customer)
  const taken = new Set(await insertSubjects(tx, customer.id, subjects))
  if (taken.size < subjects.length) {
    const others = subjects.filter((subject) => !taken.has(subject))
    throw new Problem('conflict', 'A subject belongs to at most one customer.', {
      errors: others.map((subject) => ({
        path: `subjects.${input.subjects.indexOf(subject)}`,
        message: `${JSON.stringify(subject)} belongs to another customer.`,
      })),
    })
  }
  await insertBillingEvents(
    tx,
    [
      {
        id: means.newId(),
        event: 'customer.created',
        customerId: customer.id,
        data: { external_key: customer.externalKey, currency: customer.currency, timezone: customer.timezone },
      },
    ],
    createdAtMs,
  )
  return { customer, created: true }
}

function checkCustomer(input: CreateCustomer): ProblemError[] {
  const errors: ProblemError[] = []
  if (!isCurrency(input.currency)) {
    errors.push({ path: 'currency', message: 'This is not an active ISO 4217 currency.' })
  }
  if (!isZone(input.timezone)) errors.push({ path: 'timezone', message: 'This is not an IANA time zone.' })
  return errors
}

/** Details that the call does not name may have been changed since. */
async function storedCustomer(tx: TenantTransaction, wanted: CreateCustomer): Promise<Customer> {
  const stored = await findCustomerByKey(tx, wanted.externalKey)
  if (stored === undefined) throw new Problem('internal', 'A stored customer could not be read.')
  if (isDeepStrictEqual(stored, { ...stored, ...wanted })) return stored
  throw new Problem(
    'conflict',
    `Customer ${JSON.stringify(wanted.externalKey)} exists with other content. Its billing details can be changed with PATCH.`,
  )
}

/** As Postgres sorts with COLLATE "C". */
function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
