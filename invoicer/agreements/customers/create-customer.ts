import { isDeepStrictEqual } from 'node:util'
import { Problem, type ProblemError } from '../../../schemas/http/problem.ts'
import { isCurrency } from '../../../schemas/money.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { isZone } from '../../../schemas/time/zone.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means } from '../../transaction.ts'
import type { Customer } from './customer.ts'
import { findCustomerByKey, insertCustomer, insertSubjects } from './customers.postgres.ts'

export type CreateCustomer = Pick<Customer, 'externalKey' | 'name' | 'email' | 'currency' | 'timezone' | 'subjects'>

/**
 * Creates a customer once per external key: the same content again answers the stored one.
 * @throws Problem invalid_request for an unknown currency or zone; conflict for other content under the same key, or a
 * subject that belongs to another customer.
 */
export async function createCustomer(
  tx: TenantTransaction,
  input: CreateCustomer,
  means: Means,
): Promise<{ customer: Customer; created: boolean }> {
  const errors = checkCustomer(input)
  if (errors.length > 0) throw new Problem('invalid_request', 'The customer is not valid.', { errors })
  const createdAtMs = means.now()
  const subjects = [...new Set(input.subjects)].sort(byCodePoint)
  const customer: Customer = { ...input, id: means.newId(), stripeCustomerId: null, subjects, createdAtMs }
  if (!(await insertCustomer(tx, customer))) return { customer: await storedCustomer(tx, customer), created: false }
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

async function storedCustomer(tx: TenantTransaction, wanted: Customer): Promise<Customer> {
  const stored = await findCustomerByKey(tx, wanted.externalKey)
  if (stored === undefined) throw new Problem('internal', 'A stored customer could not be read.')
  const same = isDeepStrictEqual(stored, {
    ...wanted,
    id: stored.id,
    stripeCustomerId: stored.stripeCustomerId,
    createdAtMs: stored.createdAtMs,
  })
  if (same) return stored
  throw new Problem(
    'conflict',
    `Customer ${JSON.stringify(wanted.externalKey)} exists with other content. A customer cannot be changed yet.`,
  )
}

/** As Postgres sorts with COLLATE "C". */
function byCodePoint(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b))
}
