import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { Batcher } from '../append/batcher.ts'
import { formatMicro } from '../quota/limit.ts'
import type { CounterKey, QuotaDecision, QuotaItem, QuotaStore } from '../quota/quota-store.ts'
import type { ConfigCache, TenantConfig } from './config.ts'
import type { Outcome } from './outcome.ts'
import { type Prepared, prepareEvent, type Rejected } from './prepare.ts'

export type AcceptDeps = {
  config: ConfigCache
  batcher: Batcher
  partitions: number
  quota: QuotaStore
  loadCounters: (counters: readonly CounterKey[]) => Promise<void>
  /** False: events beyond a limit are recorded and flagged, not refused. */
  enforceQuota: boolean
  now: () => number
}

/** What happened to one event, and what is known of it for logs and metrics. */
export type Accepted = { outcome: Outcome; event: Prepared | undefined }

type Candidate = { index: number; event: Prepared }

const LOAD_ROUNDS = 3
/** An unknown type is refused only if it is unknown to a configuration younger than this. */
const UNKNOWN_TYPE_FRESH_MS = 200

/**
 * Takes events: checks all, draws quotas for all in one round trip, appends the rest, answers when they are durable.
 * Order of effects, and what a crash between them leaves: (1) quota drawn: the sender had no answer and sends again,
 * and the same identity does not draw twice; (2) appended: the sender sends again, and the copy counts once.
 */
export async function acceptEvents(deps: AcceptDeps, caller: Caller, events: readonly unknown[]): Promise<Accepted[]> {
  const prepared = await prepareAll(deps, caller, events)
  const results: Accepted[] = prepared.map((one) =>
    'outcome' in one
      ? { outcome: one, event: undefined }
      : { outcome: { outcome: 'accepted', id: one.id }, event: one },
  )
  const first = new Map<string, Candidate>()
  const copies: { index: number; event: Prepared; of: Candidate }[] = []
  prepared.forEach((one, index) => {
    if ('outcome' in one) return
    const before = first.get(one.identity)
    if (before) copies.push({ index, event: one, of: before })
    else first.set(one.identity, { index, event: one })
  })
  const candidates = [...first.values()]
  checkRoom(
    deps.batcher,
    [...candidates, ...copies].map(({ event }) => event),
  )
  const decisions = await drawQuotas(
    deps,
    candidates.map(({ event }) => event),
  )
  await Promise.all(
    candidates.map(async ({ index, event }, place) => {
      results[index] = { outcome: await appendOne(deps, event, decisions[place]), event }
    }),
  )
  await Promise.all(
    copies.map(async ({ index, event, of }) => {
      const outcome = await appendCopy(deps, event, of.event, results[of.index]?.outcome)
      results[index] = { outcome, event }
    }),
  )
  return results
}

async function prepareAll(
  deps: AcceptDeps,
  caller: Caller,
  events: readonly unknown[],
): Promise<(Prepared | Rejected)[]> {
  const nowMs = deps.now()
  const mayBackfill = caller.permissions.has('billing:usage:backfill')
  const prepare = (config: TenantConfig) =>
    events.map((raw) => prepareEvent(raw, caller.tenantId, config, nowMs, mayBackfill, deps.partitions))
  const config = await deps.config.get(caller.tenantId)
  const prepared = prepare(config)
  const unknown = prepared.some((one) => 'outcome' in one && one.code === 'unknown_type')
  // The type may have been registered through another process a moment ago.
  if (!unknown || config.loadedAtMs > nowMs - UNKNOWN_TYPE_FRESH_MS) return prepared
  return prepare(await deps.config.atLeast(caller.tenantId, nowMs))
}

function checkRoom(batcher: Batcher, events: readonly Prepared[]): void {
  const bytes = events.reduce((sum, event) => sum + event.encoded.length, 0)
  if (!batcher.hasRoom(bytes)) {
    throw new Problem(
      'overloaded',
      'Too many events wait for the log: nothing of this request was kept, send it again',
      { retryAfterSeconds: 1 },
    )
  }
}

/** Decisions in the order of the events; undefined for those without a limit. */
async function drawQuotas(deps: AcceptDeps, events: readonly Prepared[]): Promise<(QuotaDecision | undefined)[]> {
  const items = events.filter((event) => event.draws.length > 0).map(itemOf)
  if (items.length === 0) return events.map(() => undefined)
  for (let round = 0; round < LOAD_ROUNDS; round++) {
    const answer = await deps.quota.draw(items, deps.now(), deps.enforceQuota)
    if ('decisions' in answer) {
      const decisions = answer.decisions[Symbol.iterator]()
      return events.map((event) => (event.draws.length > 0 ? decisions.next().value : undefined))
    }
    await deps.loadCounters(answer.missing)
  }
  throw new Problem('unavailable', 'The quota counters vanish while they are loaded: try again')
}

function itemOf(event: Prepared): QuotaItem {
  return { identity: event.identity, draws: event.draws }
}

async function appendOne(deps: AcceptDeps, event: Prepared, decision: QuotaDecision | undefined): Promise<Outcome> {
  const { id } = event
  const remaining = decision && formatMicro(decision.remainingMicro)
  if (decision && !decision.taken) return { outcome: 'quota_exceeded', id, quota_remaining: remaining ?? '0' }
  if (!(await append(deps, event))) {
    // What an earlier request drew for the same identity stays: that copy may be in the log.
    if (decision?.drawn) await deps.quota.giveBack([itemOf(event)])
    return failed(event)
  }
  return {
    outcome: 'accepted',
    id,
    ...(remaining === undefined ? {} : { quota_remaining: remaining }),
    ...(decision?.over ? { over_quota: true as const } : {}),
  }
}

/**
 * A later copy of an identity in the same request. After a first one that was not taken it is not taken either: it
 * would count, past the quota. After one that was, a copy with another payload is kept, so that the conflict is seen
 * and listed; it never counts.
 */
async function appendCopy(
  deps: AcceptDeps,
  event: Prepared,
  first: Prepared,
  ofFirst: Outcome | undefined,
): Promise<Outcome> {
  if (ofFirst && ofFirst.outcome !== 'accepted') return ofFirst
  if (!first.encoded.equals(event.encoded) && !(await append(deps, event))) return failed(event)
  return { outcome: 'duplicate', id: event.id }
}

async function append(deps: AcceptDeps, event: Prepared): Promise<boolean> {
  return deps.batcher.add(event.partition, event.encoded).then(
    () => true,
    () => false,
  )
}

function failed({ id }: Prepared): Outcome {
  return { outcome: 'failed', id, retryable: true, message: 'The event log did not take it: send it again' }
}
