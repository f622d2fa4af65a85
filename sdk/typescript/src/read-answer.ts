import { retryAfterMs } from './backoff.ts'
import type { Answer } from './post.ts'

/** How one event of a batch ended; `again`: it is to be sent again with the same id. */
export type EventVerdict =
  | { kind: 'accepted' }
  | { kind: 'duplicate' }
  | { kind: 'again' }
  | { kind: 'dead'; code: string; message: string; path: string | undefined }

export type BatchVerdict =
  /** One verdict an event. */
  | { kind: 'outcomes'; verdicts: EventVerdict[]; waitMs: number | undefined }
  /** Later, as it is. */
  | { kind: 'again'; reason: string; waitMs: number | undefined }
  /** Not as it is: in halves, to find what is wrong. */
  | { kind: 'split'; code: string; message: string; tooLarge: boolean }
  /** The request as such is not wanted: key, permission or address. */
  | { kind: 'refused'; code: string; message: string; waitMs: number | undefined }

const LATER = [408, 425, 429]
/** The server's words for a body it cannot use. A 400 without them came from something on the way. */
const UNUSABLE = ['invalid_json', 'invalid_request', 'invalid_encoding']

/** What an answer means for a batch of `count` events (WIRE.md, "Answers"). */
export function readAnswer(answer: Answer, count: number, wallMs: number): BatchVerdict {
  if (!('body' in answer)) return { kind: 'again', reason: answer.message, waitMs: undefined }
  const { status } = answer
  const waitMs = retryAfterMs(answer.retryAfter, wallMs)
  const body = isObject(answer.body) ? answer.body : {}
  if (Array.isArray(body.outcomes)) return { kind: 'outcomes', verdicts: verdictsOf(body.outcomes, count), waitMs }
  const code = textOf(body.code) ?? `http_${status}`
  const message = textOf(body.detail) ?? `the server answered ${status}`
  // A 2xx that says nothing of the events came from something else than the server.
  if (status >= 500 || LATER.includes(status) || (status >= 200 && status < 300)) {
    return { kind: 'again', reason: `${code}: ${message}`, waitMs }
  }
  const isUnusable = status === 400 && UNUSABLE.includes(code)
  if (isUnusable || status === 413) return { kind: 'split', code, message, tooLarge: status === 413 }
  return { kind: 'refused', code, message, waitMs }
}

/** An event that the answer does not name has no outcome yet. */
function verdictsOf(outcomes: unknown[], count: number): EventVerdict[] {
  const verdicts = Array.from({ length: count }, (): EventVerdict => ({ kind: 'again' }))
  for (const outcome of outcomes) {
    if (!isObject(outcome) || typeof outcome.index !== 'number' || !(outcome.index in verdicts)) continue
    verdicts[outcome.index] = verdictOf(outcome)
  }
  return verdicts
}

function verdictOf(outcome: Record<string, unknown>): EventVerdict {
  if (outcome.outcome === 'accepted' || outcome.outcome === 'duplicate') return { kind: outcome.outcome }
  if (outcome.outcome === 'failed' && outcome.retryable !== false) return { kind: 'again' }
  const code = textOf(outcome.code) ?? textOf(outcome.outcome) ?? 'unknown_outcome'
  return { kind: 'dead', code, message: textOf(outcome.message) ?? code, path: textOf(outcome.path) }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}
