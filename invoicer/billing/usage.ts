import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { type Quantity, ZERO } from '../../schemas/quantity.ts'
import type { Counted, EventDetail, Uncounted } from './counted.ts'
import type { Span } from './unused.ts'

/** What a meter counted for some subjects in [startMs, endMs). `key` names the answer. */
export type UsageRequest = {
  key: string
  meter: string
  subjects: string[]
  startMs: number
  endMs: number
  /** In these times of it alone, in order, taken together; none: in all of it. */
  parts?: readonly Span[]
  /** The time that a level is averaged over, by default that of the request: that of the period it is a part of. */
  averagedOverMs?: number
  /** What is to be counted of its events beside their sum; most need nothing. */
  detail?: EventDetail
}

/**
 * The quantity, of how many events it is made, and the sum of their 128-bit identity hashes mod 2^128; what was counted of
 * the events by themselves, where a request asked for that.
 */
export type MeteredUsage = { quantity: Quantity; events: number; digest: bigint; counted?: Counted | Uncounted }

/** What becomes known from one moment on is late if it happened before the other: all of that may be billed by then. */
export type LateStep = { knownFromMs: number; happenedBeforeMs: number }
/** Usage that is late by one of the steps, and known before W. Steps in order, both of their moments rising. */
export type Changes = { steps: readonly LateStep[]; knownBeforeMs: number }
/** Whose usage changed, and between which times; whether it came to another quantity is not known yet. */
export type ChangedUsage = { subject: string; firstMs: number; lastMs: number }

/** How many identities were known, each once, whatever meters count of them; and the sum of their hashes as above. */
export type IdentityTotals = { events: number; digest: bigint }

/**
 * Reads exact usage, of thousands of subscriptions in one call: the events whose first copy was known before
 * `knownBefore`. All or error: every key is answered, with zeroes where there is no usage, or the call throws; usage
 * that could not be read is never 0.
 */
export type UsageReader = {
  quantities(
    tenantId: TenantId,
    knownBefore: Date,
    requests: readonly UsageRequest[],
  ): Promise<Map<string, MeteredUsage>>
  /** Everything of the tenant that `quantities` selects from: what a seal of that moment has to agree with. */
  identityTotals(tenantId: TenantId, knownBefore: Date): Promise<IdentityTotals>
  /** Each subject with late usage, once, in the order of subjects; nothing is late where there is no step. */
  changed(tenantId: TenantId, changes: Changes): Promise<ChangedUsage[]>
}

/** Of who has nobody to use anything, or no request at all. */
export const NO_USAGE: MeteredUsage = { quantity: ZERO, events: 0, digest: 0n }

const DIGEST_MODULUS = 1n << 128n

/** What two sets of events that have none in common come to, for meters that add up. */
export function addUsage(a: MeteredUsage, b: MeteredUsage): MeteredUsage {
  return {
    quantity: a.quantity.plus(b.quantity),
    events: a.events + b.events,
    digest: (a.digest + b.digest) % DIGEST_MODULUS,
  }
}

/** The request of times in order, one at least, of a period which is so long. */
export function requestOf(
  { key, meter, subjects }: Pick<UsageRequest, 'key' | 'meter' | 'subjects'>,
  times: readonly Span[],
  averagedOverMs: number | undefined,
): UsageRequest {
  const request: UsageRequest = {
    key,
    meter,
    subjects,
    startMs: times[0]?.startMs ?? 0,
    endMs: times.at(-1)?.endMs ?? 0,
  }
  if (times.length > 1) request.parts = times.map((time) => ({ startMs: time.startMs, endMs: time.endMs }))
  if (averagedOverMs !== undefined) request.averagedOverMs = averagedOverMs
  return request
}

/** What was asked for, by key. @throws Problem calculation_failed where an answer is missing: nothing is known then. */
export async function readQuantities(
  usage: UsageReader,
  tenantId: TenantId,
  knownBefore: Date,
  requests: readonly UsageRequest[],
): Promise<Map<string, MeteredUsage>> {
  if (requests.length === 0) return new Map()
  const answers = await usage.quantities(tenantId, knownBefore, requests)
  for (const { key } of requests) {
    if (!answers.has(key)) throw new Problem('calculation_failed', 'Usage was not answered for every subscription.')
  }
  return answers
}
