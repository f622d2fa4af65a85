import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { type Batcher, bytesOf } from '../append/batcher.ts'
import { formatMicro } from '../quota/limit.ts'
import type { ThresholdWatch } from '../quota/thresholds/watch.ts'
import type { ConfigCache } from './config.ts'
import { type Decision, type Decisions, type DrawDeps, drawQuotas } from './draw.ts'
import type { Outcome } from './outcome.ts'
import { createPrepare, type Prepared, type Rejected } from './prepare.ts'

export type AcceptDeps = DrawDeps & {
  config: ConfigCache
  batcher: Batcher
  partitions: number
  /** The events are of a backfill. */
  ofBackfill?: boolean
  /** Told of every draw: it may have reached a level. */
  thresholds?: Pick<ThresholdWatch, 'drew'>
}

/** What happened to one event, and what is known of it. `repeated`: its quota was drawn by an earlier request. */
export type Accepted = { outcome: Outcome; event: Prepared | undefined; repeated?: boolean }

/** A later copy of an identity in the request, and its first one. */
type Copy = { index: number; event: Prepared; of: number; first: Prepared }

/** An unknown type is refused only if it is unknown to a configuration younger than this. */
const UNKNOWN_TYPE_FRESH_MS = 200

/**
 * Takes events: checks all, draws quotas for all in one round trip, appends the rest, answers when they are durable.
 * Order of effects, and what a crash between them leaves: (1) quota drawn: the sender had no answer and sends again,
 * and the same identity does not draw twice; (2) appended: the sender sends again, and the copy counts once.
 */
export async function acceptEvents(deps: AcceptDeps, caller: Caller, events: readonly unknown[]): Promise<Accepted[]> {
  const prepared = await prepareAll(deps, caller, events)
  // Returned, not awaited: what was sent is then held by nobody while quota and log answer, and is collected cheaply.
  return takeAll(deps, prepared)
}

async function takeAll(deps: AcceptDeps, prepared: readonly (Prepared | Rejected)[]): Promise<Accepted[]> {
  const { firsts, copies } = sortOut(prepared)
  checkRoom(deps.batcher, firsts, copies)
  const decisions = await drawQuotas(deps, firsts)
  deps.thresholds?.drew(firsts, decisions)
  const durable = await appendFirsts(deps, firsts, decisions)
  let place = 0
  const results = prepared.map((event): Accepted => {
    if ('outcome' in event) return { outcome: event, event: undefined }
    if (event !== firsts[place]) return { outcome: { outcome: 'duplicate', id: event.id }, event }
    const decision = decisions[place++]
    return {
      outcome: outcomeOf(event, decision, durable),
      event,
      repeated: decision?.taken === true && !decision.drawn && !decision.away,
    }
  })
  if (copies.length > 0) await appendCopies(deps, copies, results)
  return results
}

/** Tells first copies of an identity, in their order, from later ones. */
function sortOut(prepared: readonly (Prepared | Rejected)[]): { firsts: readonly Prepared[]; copies: readonly Copy[] } {
  const valid = prepared.filter((event): event is Prepared => !('outcome' in event))
  // Identities differ where ids do, and an id is a shorter text.
  if (valid.length < 2 || new Set(valid.map(({ id }) => id)).size === valid.length) return { firsts: valid, copies: [] }
  const seen = new Map<string, number>()
  const firsts: Prepared[] = []
  const copies: Copy[] = []
  prepared.forEach((event, index) => {
    if ('outcome' in event) return
    const of = seen.get(event.identity)
    const first = of === undefined ? undefined : prepared[of]
    if (of === undefined || !first || 'outcome' in first) {
      seen.set(event.identity, index)
      firsts.push(event)
    } else copies.push({ index, event, of, first })
  })
  return { firsts, copies }
}

async function prepareAll(
  deps: AcceptDeps,
  caller: Caller,
  events: readonly unknown[],
): Promise<(Prepared | Rejected)[]> {
  const nowMs = deps.now()
  const { partitions, ofBackfill = false } = deps
  const mayBackfill = caller.permissions.has('billing:usage:backfill')
  const config = await deps.config.get(caller.tenantId)
  const options = { tenant: caller.tenantId, config, nowMs, mayBackfill, partitions, ofBackfill }
  const prepared = events.map(createPrepare(options))
  const unknown = prepared.some((one) => 'outcome' in one && one.code === 'unknown_type')
  // The type may have been registered through another process a moment ago.
  if (!unknown || config.loadedAtMs > nowMs - UNKNOWN_TYPE_FRESH_MS) return prepared
  const fresh = await deps.config.atLeast(caller.tenantId, nowMs)
  return events.map(createPrepare({ ...options, config: fresh }))
}

function checkRoom(batcher: Batcher, firsts: readonly Prepared[], copies: readonly Copy[]): void {
  const bytes = bytesOf(firsts) + (copies.length === 0 ? 0 : bytesOf(copies.map(({ event }) => event)))
  if (!batcher.hasRoom(bytes)) {
    throw new Problem(
      'overloaded',
      'Too many events wait for the log: nothing of this request was kept, send it again',
      { retryAfterSeconds: 1 },
    )
  }
}

/** All that the quota let through becomes durable together, or none of it is known to be. */
async function appendFirsts(deps: AcceptDeps, events: readonly Prepared[], decisions: Decisions): Promise<boolean> {
  const durable = await append(
    deps,
    events.filter((_, place) => decisions[place]?.taken !== false),
  )
  if (durable) return true
  // What an earlier request drew for the same identity stays: that copy may be in the log.
  const drawn = events.filter((_, place) => decisions[place]?.drawn)
  if (drawn.length > 0) await deps.quota.giveBack(drawn)
  return false
}

function outcomeOf({ id }: Prepared, decision: Decision | undefined, durable: boolean): Outcome {
  if (!decision) return durable ? { outcome: 'accepted', id } : failed(id)
  if (decision.away) {
    if (!decision.taken) return failed(id, 'Its quota cannot be asked for: send it again')
    return durable ? { outcome: 'accepted', id, quota_unchecked: true } : failed(id)
  }
  const remaining = formatMicro(decision.remainingMicro)
  if (!decision.taken) return { outcome: 'quota_exceeded', id, quota_remaining: remaining }
  if (!durable) return failed(id)
  if (decision.over) return { outcome: 'accepted', id, quota_remaining: remaining, over_quota: true }
  return { outcome: 'accepted', id, quota_remaining: remaining }
}

/**
 * Later copies of an identity in the same request. After a first one that was not taken they are not taken either: they
 * would count, past the quota. After one that was, a copy with another payload is kept, so that the conflict is seen
 * and listed; it never counts.
 */
async function appendCopies(deps: AcceptDeps, copies: readonly Copy[], results: Accepted[]): Promise<void> {
  const wasTaken = ({ of }: Copy) => results[of]?.outcome.outcome === 'accepted'
  const differs = ({ event, first }: Copy) => !first.encoded.equals(event.encoded)
  const conflicting = copies.filter((copy) => wasTaken(copy) && differs(copy))
  const durable = await append(
    deps,
    conflicting.map(({ event }) => event),
  )
  for (const copy of copies) {
    const { index, event, of } = copy
    const ofFirst = results[of]?.outcome
    if (ofFirst && !wasTaken(copy)) results[index] = { outcome: ofFirst, event }
    else if (!durable && differs(copy)) results[index] = { outcome: failed(event.id), event }
  }
}

function append(deps: AcceptDeps, events: readonly Prepared[]): Promise<boolean> {
  if (events.length === 0) return Promise.resolve(true)
  return deps.batcher.add(events).then(
    () => true,
    () => false,
  )
}

function failed(id: string, message = 'The event log did not take it: send it again'): Outcome {
  return { outcome: 'failed', id, retryable: true, message }
}
