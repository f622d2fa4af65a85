import { randomUUID } from 'node:crypto'
import type { OperationKind } from '../../schemas/event/operation.ts'
import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { ConfigCache } from '../accept/config.ts'
import type { Outcome } from '../accept/outcome.ts'
import { type Batcher, bytesOf } from '../append/batcher.ts'
import { type Correction, type CorrectionInput, prepareCorrection, type Rejected } from './correction.ts'

export type CorrectDeps = { config: ConfigCache; batcher: Batcher; partitions: number; now: () => number }

export type CorrectInput = {
  kind: OperationKind
  /** Repeats of a request that carry it are the same operation; without one it gets an id of its own. */
  operationId: string | undefined
  events: readonly CorrectionInput[]
}
export type Corrected = { operationId: string; outcomes: Outcome[] }

/**
 * Voids or replaces events. Order of effects, and what a crash between them leaves: (1) all are checked, nothing is
 * kept; (2) the operations are appended to the log, in the partitions of their targets; (3) the answer, when they are
 * durable. Between (2) and (3): whoever asked has no answer, and asks again with the same operation id: the same
 * operations, of which the first known counts. Usage follows when the aggregator has stored them.
 * Quota counters stay as they are: what a voided event drew is not given back here, and counts until its window ends.
 */
export async function correctEvents(deps: CorrectDeps, caller: Caller, input: CorrectInput): Promise<Corrected> {
  const nowMs = deps.now()
  const operationId = input.operationId ?? randomUUID()
  const options = {
    tenant: caller.tenantId,
    kind: input.kind,
    operationId,
    by: caller.keyId,
    // Corrections are rare: each is held against the event types of this moment.
    config: await deps.config.atLeast(caller.tenantId, nowMs),
    nowMs,
    mayBackfill: caller.permissions.has('billing:usage:backfill'),
    partitions: deps.partitions,
  }
  const prepared = input.events.map((event) => prepareCorrection(options, event))
  const { targets, outcomes } = sortOut(prepared)
  const durable = await appendCorrections(deps.batcher, targets)
  return { operationId, outcomes: durable ? outcomes : outcomes.map(undone) }
}

/** The first correction of each target, and how each one ends once they are durable. */
function sortOut(prepared: readonly (Correction | Rejected)[]): { targets: Correction[]; outcomes: Outcome[] } {
  const first = new Map<string, Correction>()
  const outcomes = prepared.map((one): Outcome => {
    if ('outcome' in one) return one
    const { id, identity, said } = one
    const before = first.get(identity)
    if (before?.said === said) return { outcome: 'duplicate', id }
    const message = 'The request corrects the same event twice, in two ways'
    if (before) return { outcome: 'rejected', id, code: 'duplicate_target', path: 'id', message }
    first.set(identity, one)
    return { outcome: 'accepted', id }
  })
  return { targets: [...first.values()], outcomes }
}

/** Whether the operations are durable; false: it is not known of some. Throws when they do not fit: nothing is kept. */
export async function appendCorrections(batcher: Batcher, corrections: readonly Correction[]): Promise<boolean> {
  if (corrections.length === 0) return true
  if (!batcher.hasRoom(bytesOf(corrections))) {
    const detail = 'Too many events wait for the log: nothing of this request was kept, send it again'
    throw new Problem('overloaded', detail, { retryAfterSeconds: 1 })
  }
  return batcher.add(corrections).then(
    () => true,
    () => false,
  )
}

function undone(outcome: Outcome): Outcome {
  if (outcome.outcome === 'rejected' || !outcome.id) return outcome
  return { outcome: 'failed', id: outcome.id, retryable: true, message: 'The event log did not take it: send it again' }
}
