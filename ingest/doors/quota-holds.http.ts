import { type Static, Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import type { Granted } from '../quota/grant-hold.ts'
import { leaseQuota, returnLease } from '../quota/lease.ts'
import type { QuotaDeps } from '../quota/quota-deps.ts'
import { releaseHold } from '../quota/release.ts'
import { reserveQuota } from '../quota/reserve.ts'
import { EXAMPLE_HOLD_ID, ExpiresInMs, Meter, Nullable, OnlyKey, Quantity, Subject, Text } from './quota.shapes.ts'

const DEFAULT_RESERVATION_MS = 60_000
const DEFAULT_LEASE_MS = 30_000

const asked = { subject: 'customer-1', meter: 'context_tokens', quantity: '400' }
const HoldBody = Type.Object(
  { subject: Subject, meter: Meter, quantity: Quantity, expires_in_ms: ExpiresInMs },
  { additionalProperties: false, examples: [{ ...asked, expires_in_ms: 60_000 }] },
)
const granted = {
  quantity: Type.String(),
  expires_at: Type.String(),
  quota_remaining: Nullable(Type.String({ description: 'After this; null: there is no limit' })),
  resets_at: Nullable(Type.String()),
}
const example = {
  ...{ quantity: '400', expires_at: '2026-11-20T12:01:00.000Z' },
  ...{ quota_remaining: '12', resets_at: '2026-12-01T00:00:00.000Z' },
}
const ReserveAnswer = Type.Object(
  { hold_id: Type.String(), subject: Type.String(), meter: Type.String(), ...granted },
  { examples: [{ hold_id: EXAMPLE_HOLD_ID, ...asked, ...example }] },
)
const ReleaseBody = Type.Object(
  { hold_id: Text('Of a reservation or a lease') },
  { additionalProperties: false, examples: [{ hold_id: EXAMPLE_HOLD_ID }] },
)
const ReleaseAnswer = Type.Object(
  { hold_id: Type.String(), released: Type.String() },
  { examples: [{ hold_id: EXAMPLE_HOLD_ID, released: '400' }] },
)
const LeaseAnswer = Type.Object(
  { lease_id: Type.String(), ...granted },
  { examples: [{ lease_id: EXAMPLE_HOLD_ID, ...example }] },
)
const ReturnBody = Type.Object({ unused: Quantity }, { additionalProperties: false, examples: [{ unused: '123' }] })
const ReturnAnswer = Type.Object(
  { lease_id: Type.String(), returned: Type.String() },
  { examples: [{ lease_id: EXAMPLE_HOLD_ID, returned: '123' }] },
)
/** A key with a scope holds quota of its own subjects. */
const CONSUMES = { permission: 'billing:quotas:consume', scoped: true } as const

export function quotaHoldsDoor(app: App, deps: QuotaDeps): void {
  app.post(
    '/api/v1/quota/reserve',
    {
      config: CONSUMES,
      schema: {
        summary: 'Set quota aside for work whose size is known only afterwards; then settle or release it.',
        headers: OnlyKey,
        body: HoldBody,
        response: { 201: ReserveAnswer },
      },
    },
    async ({ caller, body, headers }, reply) => {
      const { subject, meter } = body
      const hold = await reserveQuota(deps, caller, headers['idempotency-key'], inputOf(body, DEFAULT_RESERVATION_MS))
      return reply.code(201).send({ hold_id: hold.holdId, subject, meter, ...answerOf(hold) })
    },
  )
  app.post(
    '/api/v1/quota/release',
    {
      config: CONSUMES,
      schema: {
        summary: 'End a reservation or a lease: what it has left is free again. "0" if it is gone.',
        body: ReleaseBody,
        response: { 200: ReleaseAnswer },
      },
    },
    async ({ caller, body: { hold_id } }) => ({ hold_id, released: await releaseHold(deps, caller, hold_id) }),
  )
  leasesDoor(app, deps)
}

function leasesDoor(app: App, deps: QuotaDeps): void {
  app.post(
    '/api/v1/quota/leases',
    {
      config: CONSUMES,
      schema: {
        summary: 'Set quota aside to decide with in the caller’s own process. Less may be granted, "0" at the end.',
        description: 'Events that it decided carry the CloudEvents attribute tallyhold with its id.',
        headers: OnlyKey,
        body: HoldBody,
        response: { 200: LeaseAnswer },
      },
    },
    async ({ caller, body, headers }) => {
      const lease = await leaseQuota(deps, caller, headers['idempotency-key'], inputOf(body, DEFAULT_LEASE_MS))
      return { lease_id: lease.holdId, ...answerOf(lease) }
    },
  )
  app.post(
    '/api/v1/quota/leases/:lease_id/return',
    {
      config: CONSUMES,
      schema: {
        summary: 'Free what a lease did not use, at most what it has. The same quantity again is the same call.',
        params: Type.Object({ lease_id: Text('Of a lease') }),
        body: ReturnBody,
        response: { 200: ReturnAnswer },
      },
    },
    async ({ caller, body: { unused }, params: { lease_id } }) => {
      return { lease_id, returned: await returnLease(deps, caller, lease_id, unused) }
    },
  )
}

function inputOf({ subject, meter, quantity, expires_in_ms }: Static<typeof HoldBody>, defaultMs: number) {
  return { subject, meter, quantity, expiresInMs: expires_in_ms ?? defaultMs }
}

function answerOf({ quantity, expiresAt, standing }: Granted) {
  const { quota_remaining, resets_at } = standing
  return { quantity, expires_at: expiresAt, quota_remaining, resets_at }
}
