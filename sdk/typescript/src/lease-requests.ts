import { decimalOf, microOfDecimal } from './micro.ts'
import type { Post } from './post.ts'

export const LEASES_PATH = '/api/v1/quota/leases'

export type LeaseAnswer =
  | { kind: 'granted'; id: string; micro: number; remainingMicro: number; resetsAtMs: number | undefined }
  | { kind: 'no_limit' }
  /** Nothing is left. */
  | { kind: 'denied' }
  | LeaseTrouble
/**
 * `refused`: the server does not do this for this client (401, 403, 404 …). `away`: no answer that can be used; `status` 0:
 * none at all.
 */
export type LeaseTrouble = ({ kind: 'refused' } | { kind: 'away' }) & {
  status: number
  message: string
  retryAfter: string | null
}

export type LeaseRequest = {
  subject: string
  meter: string
  micro: number
  leaseMs: number
  /** The same key gets the same lease. */
  idempotencyKey: string
  timeoutMs: number
}

/** Answers 4xx to when it was asked, not to what. */
const LATER = [408, 425, 429]

export async function requestLease(post: Post, request: LeaseRequest): Promise<LeaseAnswer> {
  const { subject, meter, micro, leaseMs, idempotencyKey, timeoutMs } = request
  const json = JSON.stringify({ subject, meter, quantity: decimalOf(micro), expires_in_ms: leaseMs })
  const answer = await post(LEASES_PATH, json, { 'idempotency-key': idempotencyKey }, timeoutMs)
  if (!('body' in answer)) return { kind: 'away', status: 0, message: answer.message, retryAfter: null }
  const { status, retryAfter } = answer
  const body = (answer.body ?? {}) as Record<string, unknown>
  if (status === 429 && body.code === 'quota_exceeded') return { kind: 'denied' }
  const granted = microOfDecimal(body.quantity)
  const { lease_id: id, resets_at: resetsAt, quota_remaining: remaining } = body
  if (status >= 300 || granted === undefined || typeof id !== 'string') {
    const kind = status >= 400 && status < 500 && !LATER.includes(status) ? 'refused' : 'away'
    return { kind, status, message: `${body.code ?? status}: ${body.detail ?? 'no lease in the answer'}`, retryAfter }
  }
  if (remaining === null) return { kind: 'no_limit' }
  if (granted === 0) return { kind: 'denied' }
  const resetsAtMs = typeof resetsAt === 'string' ? Date.parse(resetsAt) : Number.NaN
  return {
    kind: 'granted',
    id,
    micro: granted,
    remainingMicro: microOfDecimal(remaining) ?? 0,
    resetsAtMs: Number.isNaN(resetsAtMs) ? undefined : resetsAtMs,
  }
}

/** If it does not arrive, the lease ends by itself, only later. */
export async function returnLease(post: Post, id: string, unusedMicro: number, timeoutMs: number): Promise<void> {
  const json = JSON.stringify({ unused: decimalOf(unusedMicro) })
  await post(`${LEASES_PATH}/${encodeURIComponent(id)}/return`, json, {}, timeoutMs)
}
