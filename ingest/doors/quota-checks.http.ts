import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { checkQuota } from '../quota/check.ts'
import type { QuotaDeps } from '../quota/quota-deps.ts'
import { readQuota } from '../quota/read-quota.ts'
import { EXAMPLE_FEATURE, FeatureState, featureState } from './feature-state.ts'
import {
  EXAMPLE_LIMIT,
  EXAMPLE_STANDING,
  LimitState,
  Meter,
  Quantity,
  Subject,
  standing,
  Text,
} from './quota.shapes.ts'

const MOST_CHECKS = 1_000

const one = { subject: 'customer-1', meter: 'context_tokens', quantity: '5' }
const ChecksBody = Type.Object(
  {
    checks: Type.Array(
      Type.Object(
        {
          subject: Subject,
          meter: Type.Optional(Meter),
          feature: Type.Optional(Text('An entitlement by its name, in place of a meter: its limit, or its switch')),
          quantity: Type.Optional(Quantity),
        },
        { additionalProperties: false },
      ),
      { minItems: 1, maxItems: MOST_CHECKS },
    ),
  },
  { additionalProperties: false, examples: [{ checks: [one] }] },
)
const ChecksAnswer = Type.Object(
  {
    results: Type.Array(
      Type.Object({
        subject: Type.String(),
        meter: Type.Optional(Type.String()),
        feature: Type.Optional(Type.String()),
        quantity: Type.String(),
        allowed: Type.Boolean(),
        value: Type.Optional(Type.Unknown({ description: 'Of a static entitlement' })),
        ...standing,
      }),
    ),
  },
  { examples: [{ results: [{ ...one, allowed: true, ...EXAMPLE_STANDING }] }] },
)
const QuotaAnswer = Type.Object(
  { subject: Type.String(), limits: Type.Array(LimitState), features: Type.Array(FeatureState) },
  { examples: [{ subject: 'customer-1', limits: [EXAMPLE_LIMIT], features: [EXAMPLE_FEATURE] }] },
)

export function quotaChecksDoor(app: App, deps: QuotaDeps): void {
  app.post(
    '/api/v1/quota/check',
    {
      config: { permission: 'billing:quotas:read', scoped: true },
      schema: {
        summary: 'Ask whether quantities fit below the limits of subjects now, or features are theirs. Takes nothing.',
        body: ChecksBody,
        response: { 200: ChecksAnswer },
      },
    },
    async ({ caller, body }) => ({ results: await checkQuota(deps, caller, body.checks) }),
  )
  app.get(
    '/api/v1/quota/:subject',
    {
      config: { permission: 'billing:quotas:read', scoped: true },
      schema: {
        summary: 'What a subject may use: its limits with what is used of them, switches and values.',
        params: Type.Object({ subject: Subject }),
        response: { 200: QuotaAnswer },
      },
    },
    async ({ caller, params: { subject } }) => {
      const { limits, features } = await readQuota(deps, caller, subject)
      return { subject, limits, features: features.map(featureState) }
    },
  )
}
