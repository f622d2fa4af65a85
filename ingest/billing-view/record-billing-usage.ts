import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { formatQuantity, tryQuantityFromJson } from '../../schemas/quantity.ts'
import type { Accepted } from '../accept/accept.ts'
import { type ConsumeDeps, standingAfter } from '../quota/consume.ts'
import type { Standing } from '../quota/standing.ts'
import { recordUsage } from '../usage-records/record-usage.ts'
import { findMeter } from '../usage-records/usage-record.ts'
import { exactNumber } from './exact-number.ts'
import { requireMember } from './require-member.ts'

/** Of this door's events. An organization that is named follows it, so that it is kept with the event for ever. */
const SOURCE = 'billing-usage'

export type BillingUsage = {
  user_id: string
  organization_id?: string
  usage_type: string
  quantity: number | string
  metadata?: Record<string, unknown>
}
/** What came of it, where the limits of its type stand after it, and where in the request a refused member is. */
export type RecordedUsage = {
  result: Accepted
  usageId: string
  recordedAt: string
  standing: Standing
  memberOf: (path: string) => string
}

/**
 * Records so much of a usage type, which is a meter, of a user: one event like any other. The key is the event's id;
 * with the organization it is the identity.
 */
export async function recordBillingUsage(
  deps: ConsumeDeps,
  caller: Caller,
  usage: BillingUsage,
  key: string | undefined,
): Promise<RecordedUsage> {
  const { user_id: subject, organization_id: organization, usage_type: meter, ...amount } = usage
  const quantity = tryQuantityFromJson(amount.quantity)
  if (quantity === undefined) throw invalid('quantity', 'may not be what was meant: send it as a string')
  if (organization !== undefined) await requireMember(deps, caller, subject, organization)
  const source = organization === undefined ? SOURCE : `${SOURCE}/${organization}`
  const { result, id, recordedAt } = await recordUsage(deps, caller, source, { subject, meter, ...amount }, key).catch(
    (error: unknown) => {
      throw inOurWords(error)
    },
  )
  const sentAs = { usageType: meter, amount: exactNumber(formatQuantity(quantity)) }
  deps.recorder(caller, [result], sentAs)
  const { standing } = await standingAfter(deps, ofMeter(result, meter))
  const { valuePath = [] } = findMeter(await deps.config.get(caller.tenantId), meter, deps.now()) ?? {}
  return { result, usageId: id, recordedAt, standing, memberOf: membersOf(['data', ...valuePath].join('.')) }
}

/** An event may draw on several meters: what remains is told of the one that was named. A refusal is told of all. */
function ofMeter(result: Accepted, meter: string): Accepted {
  const { outcome, event } = result
  if (!event || outcome.outcome !== 'accepted') return result
  return { ...result, event: { ...event, draws: event.draws.filter(({ counter }) => counter.meter === meter) } }
}

const MEMBERS: Readonly<Record<string, string>> = {
  ...{ id: 'Idempotency-Key', source: 'organization_id', subject: 'user_id', type: 'usage_type', data: 'metadata' },
}

function membersOf(quantityPath: string): (path: string) => string {
  return (path) => (path === quantityPath ? 'quantity' : (MEMBERS[path] ?? path.replace(/^data\./, 'metadata.')))
}

/** A usage record calls the usage type a meter, and one that is not there is no bad data to it. */
function inOurWords(error: unknown): unknown {
  if (!(error instanceof Problem)) return error
  if (error.code === 'not_found') return invalid('usage_type', 'is no meter: PUT /api/v1/meters/{slug} makes one')
  const [first] = error.options.errors ?? []
  return error.code === 'invalid_request' && first?.path === 'meter' ? invalid('usage_type', first.message) : error
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', `${path} ${message}.`, { errors: [{ path, message }] })
}
