import type { Pool } from 'pg'
import type { Counter } from 'prom-client'
import type { Caller } from '../../../schemas/http/door.ts'
import type { Permission } from '../../../schemas/http/permissions.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { type AcceptDeps, type Accepted, acceptEvents } from '../../accept/accept.ts'
import type { Admission } from '../../accept/admission.ts'
import type { UsageRecorder } from '../../accept/record.ts'
import { excerptOf, type InputPlace, type RecordFault, type TenantInput } from './input.ts'
import type { PlacedFault, Portion } from './portions.ts'
import type { ReadableRecord } from './read-records.ts'
import { forgetRejections, type Rejection, storeRejections } from './rejections.postgres.ts'

export type TakeDeps = {
  pool: Pool
  accept: AcceptDeps
  recorder: UsageRecorder
  admission: Admission
  /** Records by what became of them. */
  records: Counter<'tenant' | 'outcome'>
  now: () => number
}

/** One event of a record, or the record itself when it could not be read. */
type Slot = { offset: number; index: number; event: unknown }
type Refusal = Slot & { eventId: string | undefined; fault: RecordFault }

const MOST_EVENTS = 1_000
/** Rejected events of one record that are listed one by one. */
const MOST_LISTED = 100
const QUOTA_EXCEEDED: RecordFault = {
  code: 'quota_exceeded',
  path: '',
  message: 'The quota does not cover the event: write it again when it does',
}

/**
 * Takes what a portion's records say. Rejects when it is not known that all of it was taken: then nothing may be
 * committed, and the portion comes again. Order of effects, and what a crash between them leaves: (1) events in the log:
 * copies count once; (2) what was refused is listed, replacing what an earlier try listed; (3) the caller commits.
 * `listed` says that an earlier try may have listed something.
 */
export async function takePortion(
  deps: TakeDeps,
  input: TenantInput,
  place: InputPlace,
  { portion, records, listed }: { portion: Portion; records: readonly ReadableRecord[]; listed: boolean },
): Promise<{ rejections: number }> {
  const jsonBytes = records.reduce((sum, one) => sum + one.jsonBytes, 0)
  const { unread, results, refused } = await deps.admission.hold(jsonBytes, () => readAndAccept(deps, input, records))
  const rejections = [...portion.faults.map(ofRecord), ...unread, ...refused]
  if (rejections.length > 0 || listed) {
    await withTenant(deps.pool, input.tenantId, async (tx) => {
      await forgetRejections(tx, input.topic, place, portion)
      await storeRejections(tx, input.topic, place, rejections, new Date(deps.now()))
    })
  }
  deps.recorder(callerOf(input), results)
  const unreadable = unread.length + portion.faults.length
  deps.records.inc({ tenant: input.tenantSlug, outcome: 'read' }, records.length - unread.length)
  if (unreadable > 0) deps.records.inc({ tenant: input.tenantSlug, outcome: 'rejected' }, unreadable)
  return { rejections: rejections.length }
}

/** Parsed events live in here alone, as long as room is held for them. */
async function readAndAccept(deps: TakeDeps, input: TenantInput, records: readonly ReadableRecord[]) {
  const slots: Slot[] = []
  const unread: Rejection[] = []
  for (const { offset, value, read } of records) {
    const reading = await read()
    if ('code' in reading) unread.push(ofRecord({ ...reading, offset, lastOffset: offset, ...excerptOf(value) }))
    else for (const [index, event] of reading.events.entries()) slots.push({ offset, index, event })
  }
  const results = await acceptAll(deps, input, slots)
  return { unread, results, refused: listedOf(slots.flatMap((slot, at) => refusalOf(slot, results[at]))) }
}

async function acceptAll(deps: TakeDeps, input: TenantInput, slots: readonly Slot[]): Promise<Accepted[]> {
  const results: Accepted[] = []
  for (let start = 0; start < slots.length; start += MOST_EVENTS) {
    const events = slots.slice(start, start + MOST_EVENTS).map(({ event }) => event)
    results.push(...(await acceptEvents(deps.accept, callerOf(input), events)))
  }
  const failed = results.find(({ outcome }) => outcome.outcome === 'failed')
  if (failed) throw new Error('The event log did not take all events of the input; they are sent again')
  return results
}

/** Whose the topic is, whatever its records say. */
function callerOf({ tenantId, tenantSlug, topic, backfill }: TenantInput): Caller {
  const held: Permission[] = backfill ? ['billing:usage:create', 'billing:usage:backfill'] : ['billing:usage:create']
  const permissions = new Set(held)
  return { tenantId, tenantSlug, keyId: `kafka:${topic}`, operator: false, permissions, scope: 'everything' }
}

function refusalOf(slot: Slot, result: Accepted | undefined): Refusal[] {
  const outcome = result?.outcome
  if (outcome?.outcome === 'quota_exceeded') return [{ ...slot, eventId: outcome.id, fault: QUOTA_EXCEEDED }]
  if (outcome?.outcome !== 'rejected') return []
  const { id, code, path, message } = outcome
  return [{ ...slot, eventId: id, fault: { code, path, message } }]
}

function ofRecord(fault: PlacedFault): Rejection {
  return { ...fault, eventIndex: -1, events: 1, eventId: undefined }
}

/** A record may hold thousands of events, all refused: after so many, one row stands for the rest of them. */
function listedOf(refused: readonly Refusal[]): Rejection[] {
  const listed: Rejection[] = []
  let ofRecord = 0
  for (const { offset, index, event, eventId, fault } of refused) {
    const last = listed.at(-1)
    ofRecord = last?.offset === offset ? ofRecord + 1 : 1
    if (last && ofRecord > MOST_LISTED) {
      last.events++
      last.message = `${last.events} events of the record were refused, this one with: ${fault.message}`
      continue
    }
    const place = { offset, lastOffset: offset, eventIndex: index, events: 1, eventId }
    listed.push({ ...place, ...fault, ...excerptOf(Buffer.from(JSON.stringify(event) ?? '')) })
  }
  return listed
}
