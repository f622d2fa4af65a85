import { Type } from 'typebox'
import type { Accepted } from '../accept/accept.ts'
import { countOutcomes, type Outcome } from '../accept/outcome.ts'

const EventOutcome = Type.Object({
  index: Type.Integer(),
  id: Type.Optional(Type.String()),
  outcome: Type.String(),
  code: Type.Optional(Type.String()),
  path: Type.Optional(Type.String()),
  message: Type.Optional(Type.String()),
  quota_remaining: Type.Optional(Type.String()),
  over_quota: Type.Optional(Type.Boolean()),
  quota_unchecked: Type.Optional(
    Type.Boolean({ description: 'The counters could not be asked, and the limits are open: it is taken' }),
  ),
  retryable: Type.Optional(Type.Boolean()),
})

/** What became of the events of a request: how many of each kind, and of each event in the order sent. */
export const EventsAnswer = Type.Object(
  {
    accepted: Type.Integer(),
    duplicate: Type.Integer(),
    rejected: Type.Integer(),
    quota_exceeded: Type.Integer(),
    failed: Type.Integer(),
    outcomes: Type.Array(EventOutcome),
  },
  {
    examples: [
      {
        accepted: 1,
        duplicate: 0,
        rejected: 0,
        quota_exceeded: 0,
        failed: 0,
        outcomes: [{ index: 0, id: '0198f4e2-7c3e-7b1a-9d55-0d3a6a6f1c11', outcome: 'accepted' }],
      },
    ],
  },
)

/**
 * The answer to a request as JSON text, member for member what the serializer of its schema would write (a test compares
 * them): written for every event, it costs a third without an object for each.
 */
export function answerBytes(results: readonly Accepted[]): Buffer {
  const { accepted, duplicate, rejected, quota_exceeded, failed } = countOutcomes(results)
  const outcomes = results.map(({ outcome }, index) => outcomeJson(outcome, index))
  const others = `"rejected":${rejected},"quota_exceeded":${quota_exceeded},"failed":${failed}`
  // Joined, because a text that grows piece by piece is put together a second time when it is sent.
  return Buffer.from(`{"accepted":${accepted},"duplicate":${duplicate},${others},"outcomes":[${outcomes.join()}]}`)
}

function outcomeJson(outcome: Outcome, index: number): string {
  if (outcome.outcome === 'accepted' && !outcome.over_quota && !outcome.quota_unchecked && PLAIN.test(outcome.id)) {
    const { id, quota_remaining: remaining } = outcome
    if (remaining === undefined) return `{"index":${index},"outcome":"accepted","id":"${id}"}`
    return `{"index":${index},"outcome":"accepted","id":"${id}","quota_remaining":"${remaining}"}`
  }
  return `{"index":${index}${membersOf(outcome)}}`
}

function membersOf(outcome: Outcome): string {
  const kind = `,"outcome":"${outcome.outcome}"`
  const named = outcome.id === undefined ? kind : `${kind},"id":${quoted(outcome.id)}`
  switch (outcome.outcome) {
    case 'accepted': {
      const { quota_remaining: remaining, over_quota: over, quota_unchecked: unchecked } = outcome
      if (unchecked) return `${named},"quota_unchecked":true`
      const remains = remaining === undefined ? named : `${named},"quota_remaining":"${remaining}"`
      return over ? `${remains},"over_quota":true` : remains
    }
    case 'quota_exceeded':
      return `${named},"quota_remaining":"${outcome.quota_remaining}"`
    case 'rejected': {
      const { code, path, message } = outcome
      return `${named},"code":${quoted(code)},"path":${quoted(path)},"message":${quoted(message)}`
    }
    case 'failed':
      return `${named},"message":${quoted(outcome.message)},"retryable":true`
    case 'duplicate':
      return named
  }
}

/** Printable ASCII without a quote or a backslash stands in JSON as it is. */
const PLAIN = /^[ !#-[\]-~]*$/

function quoted(text: string): string {
  return PLAIN.test(text) ? `"${text}"` : JSON.stringify(text)
}
