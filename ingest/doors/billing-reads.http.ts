import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { type ReadBillingDeps, readBillingQuota, readBillingSubscription } from '../billing-view/read-billing.ts'
import { EXAMPLE_FEATURE, FeatureState, featureState } from './feature-state.ts'
import { EXAMPLE_LIMIT, LimitState, Nullable, Text } from './quota.shapes.ts'

const Time = Type.String({ description: 'ISO 8601, UTC' })
const User = Type.Object({ user_id: Text('A subject') })
const whose = {
  user_id: Type.String(),
  organization_id: Nullable(Type.String({ description: 'External key of the customer; null: the user is nobody’s' })),
  tier: Type.String({ description: 'The plan of the latest subscription; without one, the default tier' }),
  as_of: Type.Optional(Type.String({ description: 'The store of record is away: it is told as it was read then' })),
}
const SubscriptionNow = Type.Object({
  id: Type.String(),
  key: Type.String(),
  plan: Type.String(),
  plan_name: Type.String(),
  state: Type.String(),
  started_at: Time,
  ends_at: Nullable(Time),
  current_period_start: Time,
  current_period_end: Time,
})
const GrantedLimit = Type.Pick(LimitState, [
  'feature',
  'granted_by',
  'meter',
  'window',
  'shared_by',
  'enforcement',
  'limit',
])

const exampleWhose = { user_id: 'user-1', organization_id: 'clinic-7', tier: 'premium' }
const QuotaAnswer = Type.Object(
  { ...whose, limits: Type.Array(LimitState), features: Type.Array(FeatureState) },
  { examples: [{ ...exampleWhose, limits: [{ ...EXAMPLE_LIMIT, subject: 'user-1' }], features: [EXAMPLE_FEATURE] }] },
)
const SubscriptionAnswer = Type.Object(
  {
    ...whose,
    subscription: Nullable(SubscriptionNow),
    other_subscriptions: Type.Array(SubscriptionNow, { description: 'That began before it and run as well' }),
    limits: Type.Array(GrantedLimit),
    features: Type.Array(FeatureState),
  },
  {
    examples: [
      {
        ...exampleWhose,
        subscription: {
          ...{ id: '019a9f0c-2f00-7a3b-8c4d-5e6f70819203', key: 'clinic-7-premium', plan: 'premium' },
          ...{ plan_name: 'Premium', state: 'active', started_at: '2026-01-01T00:00:00.000Z', ends_at: null },
          current_period_start: '2026-11-01T00:00:00.000Z',
          current_period_end: '2026-12-01T00:00:00.000Z',
        },
        other_subscriptions: [],
        limits: [
          {
            ...{ feature: 'conversation_minutes', granted_by: 'plan', meter: 'conversation_minutes', window: 'month' },
            ...{ shared_by: 'subject', enforcement: 'hard', limit: '5000' },
          },
        ],
        features: [EXAMPLE_FEATURE],
      },
    ],
  },
)

/** HC-2. */
export function billingReadsDoor(app: App, deps: ReadBillingDeps): void {
  app.get(
    '/api/v1/billing/quota/:user_id',
    {
      config: { permission: 'billing:quotas:read', scoped: true, failsAs: 'billing_calculation_failed' },
      schema: {
        summary: 'What a user may use and what is used of it, with the tier and organization that it follows from.',
        params: User,
        response: { 200: QuotaAnswer },
      },
    },
    async ({ caller, params }) => {
      const quota = await readBillingQuota(deps, caller, params.user_id)
      return { ...quota, features: quota.features.map(featureState) }
    },
  )
  app.get(
    '/api/v1/billing/subscription/:user_id',
    {
      config: { permission: 'billing:subscriptions:read', failsAs: 'billing_calculation_failed' },
      schema: {
        summary:
          'The subscription that a user’s organization has, its present period, and what it entitles the user to.',
        params: User,
        response: { 200: SubscriptionAnswer },
      },
    },
    async ({ caller, params }) => {
      const answer = await readBillingSubscription(deps, caller, params.user_id)
      return { ...answer, features: answer.features.map(featureState) }
    },
  )
}
