import { Type } from 'typebox'
import { HOLDER_KINDS } from '../entitlements/entitlement.ts'
import { WINDOWS } from '../quota/limit.ts'

export const Text = (description: string) => Type.String({ minLength: 1, maxLength: 256, description })
export const Subject = Text('Who uses it')
export const Meter = Text('A meter of the tenant')
export const Nullable = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()])
const Time = Type.String({ description: 'ISO 8601, UTC' })
/** As QuantityText, and not negative. */
export const Quantity = Type.String({
  pattern: '^\\d{1,26}(\\.\\d{1,12})?$',
  description: 'A decimal as text, not negative, at most 26 digits before and 12 after the point.',
})

export const LimitState = Type.Object({
  feature: Type.String({ description: 'The entitlement that sets the limit' }),
  granted_by: Type.Enum(HOLDER_KINDS),
  subject: Type.String(),
  meter: Type.String(),
  window: Type.Enum(WINDOWS),
  shared_by: Type.Union([Type.Literal('subject'), Type.Literal('customer')]),
  enforcement: Type.Union([Type.Literal('hard'), Type.Literal('soft')]),
  limit: Type.String(),
  used: Type.String({ description: 'What is held by reservations and leases is in it' }),
  remaining: Type.String(),
  allows: Type.Boolean({ description: 'What was asked fits below this limit' }),
  starts_at: Type.String({ description: 'ISO 8601, UTC; use since then counts' }),
  resets_at: Type.String({
    description: 'ISO 8601, UTC; of a rolling limit when the oldest twelfth of what counts leaves',
  }),
})
/** What remains and when it comes back is that of the limit with the smallest share left. */
export const standing = {
  quota_remaining: Nullable(Type.String({ description: 'null: there is no limit' })),
  quota_exceeded: Type.Boolean(),
  resets_at: Nullable(Time),
  reason: Type.Object({
    code: Type.Union([
      Type.Literal('no_limit'),
      Type.Literal('feature_on'),
      Type.Literal('feature_off'),
      Type.Literal('not_entitled'),
      Type.Literal('unchecked'),
      Type.Literal('within_limits'),
      Type.Literal('soft_limit_exceeded'),
      Type.Literal('limit_exceeded'),
    ]),
    limits: Type.Array(LimitState),
  }),
}
export const OnlyKey = Type.Object({
  'idempotency-key': Text('The same key again is the same call: it is answered alike and takes nothing twice'),
})
export const ExpiresInMs = Type.Optional(Type.Integer({ minimum: 1_000, maximum: 3_600_000 }))

export const EXAMPLE_LIMIT = {
  ...{ feature: 'context_tokens', granted_by: 'plan' as const, subject: 'customer-1', meter: 'context_tokens' },
  ...{ window: 'month' as const, shared_by: 'subject' as const, enforcement: 'hard' as const },
  ...{ limit: '1000', used: '988', remaining: '12', allows: true },
  ...{ starts_at: '2026-11-01T00:00:00.000Z', resets_at: '2026-12-01T00:00:00.000Z' },
}
export const EXAMPLE_STANDING = {
  ...{ quota_remaining: '12', quota_exceeded: false, resets_at: EXAMPLE_LIMIT.resets_at },
  reason: { code: 'within_limits' as const, limits: [EXAMPLE_LIMIT] },
}
export const EXAMPLE_HOLD_ID = 'hold-3f9a1c0b5d7e48a2b6c4d8e0f1a2b3c4'
