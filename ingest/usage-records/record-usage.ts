import type { Pool } from 'pg'
import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { type AcceptDeps, type Accepted, acceptEvents } from '../accept/accept.ts'
import { subjectsOfCustomer, subjectsOfSubscription } from './subjects.postgres.ts'
import { eventOfRecord, findMeter, type UsageRecord } from './usage-record.ts'
import { uuidV7 } from './uuid.ts'

/** Whose usage it is: exactly one of the three. */
type Whose = { subject?: string; customer?: string; subscription_id?: string }
export type UsageRecordInput = UsageRecord & Whose & { timestamp?: string }
export type RecordUsageDeps = { pool: Pool; accept: AcceptDeps }

/** Turns a record into one usage event of the door's source, and accepts it like any other. */
export async function recordUsage(
  deps: RecordUsageDeps,
  caller: Caller,
  source: string,
  input: UsageRecordInput,
  key: string | undefined,
): Promise<{ result: Accepted; id: string; type: string; subject: string; recordedAt: string }> {
  const { accept } = deps
  const nowMs = accept.now()
  // A time that cannot be read is refused with the event.
  const atMs = Date.parse(input.timestamp ?? '') || nowMs
  const subject = await subjectOf(deps.pool, caller, input)
  let config = await accept.config.get(caller.tenantId)
  // The meter may have been created through another process a moment ago.
  if (input.meter !== undefined && !findMeter(config, input.meter, atMs))
    config = await accept.config.atLeast(caller.tenantId, nowMs)
  const { type, data } = eventOfRecord(config, input, atMs)
  const id = key ?? uuidV7(nowMs)
  const event = { specversion: '1.0', id, source, type, subject, time: input.timestamp, data }
  const [result] = await acceptEvents(accept, caller, [event])
  if (!result) throw new Error('One event has one outcome')
  return { result, id, type, subject, recordedAt: new Date(nowMs).toISOString() }
}

async function subjectOf(pool: Pool, caller: Caller, whose: Whose): Promise<string> {
  const { subject, customer, subscription_id } = whose
  const given = [subject, customer, subscription_id].filter((one) => one !== undefined)
  if (given.length !== 1)
    throw invalid('subject', 'one of subject, customer and subscription_id says whose usage it is')
  if (subject !== undefined) return subject
  const subjects = await withTenant(pool, caller.tenantId, (tx) =>
    customer !== undefined ? subjectsOfCustomer(tx, customer) : subjectsOfSubscription(tx, subscription_id ?? ''),
  )
  const what = customer !== undefined ? `customer ${customer}` : `subscription ${subscription_id}`
  if (!subjects) throw new Problem('not_found', `There is no ${what}`)
  const [only] = subjects
  if (only === undefined || subjects.length > 1)
    throw invalid('subject', `the customer has ${subjects.length} subjects: name the one that used it`)
  return only
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path}: ${message}.`, { errors: [{ path, message }] })
}
