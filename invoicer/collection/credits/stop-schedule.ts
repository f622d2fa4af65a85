import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { readCustomer } from '../../agreements/customers/read-customer.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import type { Means, Page } from '../../transaction.ts'
import { renewIfItCan } from './renew-credit.ts'
import type { CreditSchedule } from './schedule.ts'
import { findSchedule, listSchedules, lockSchedules, stopSchedule } from './schedules.postgres.ts'

/**
 * A schedule gives nothing from now on, and keeps what it gave: what was due before is given yet, where it can be stored.
 * Stopped again, it is answered as it is.
 * @throws Problem not_found
 */
export async function endSchedule(
  tx: TenantTransaction,
  input: { customer: string; schedule: string },
  means: Means,
): Promise<CreditSchedule> {
  const { id: customerId } = await readCustomer(tx, input.customer)
  const found = await readOne(tx, customerId, input.schedule)
  await lockSchedules(tx, customerId)
  const atMs = means.now()
  await renewIfItCan(tx, means, [customerId], atMs)
  if (!(await stopSchedule(tx, found.id, atMs))) return found
  const data = { schedule_id: found.id }
  const event = { id: means.newId(), event: 'credit.schedule_stopped', customerId, data } as const
  await insertBillingEvents(tx, [event], atMs)
  return readOne(tx, customerId, found.id)
}

/** @throws Problem not_found */
export async function readSchedules(tx: TenantTransaction, customer: string, page: Page): Promise<CreditSchedule[]> {
  const { id: customerId } = await readCustomer(tx, customer)
  return listSchedules(tx, customerId, page)
}

async function readOne(tx: TenantTransaction, customerId: string, idOrKey: string): Promise<CreditSchedule> {
  const schedule = await findSchedule(tx, customerId, idOrKey)
  if (schedule === undefined)
    throw new Problem('not_found', 'There is no credit schedule with this id or external key.')
  return schedule
}
