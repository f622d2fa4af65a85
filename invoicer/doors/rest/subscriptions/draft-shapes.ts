import { type Static, Type } from 'typebox'
import type { SubscriptionDraft } from '../../../agreements/subscriptions/drafts.postgres.ts'
import { stateOf } from '../../../agreements/subscriptions/drafts.ts'
import { Id, Instant, instantText } from '../shapes.ts'

/** As the API shows a subscription that is still to be agreed. */
export const draftExample = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  external_key: 'customer-0-llm',
  customer_id: '01890a5d-ac96-774b-bcce-b302099a8056',
  state: 'draft' as const,
  request: { plan: 'llm', trial_days: 14 },
  created_at: '2023-12-01T00:00:00.000Z',
}

export const DraftAnswer = Type.Object(
  {
    id: Id,
    external_key: Type.String(),
    customer_id: Id,
    state: Type.Enum(['draft', 'ended', 'active'], {
      description: 'ended: it was discarded; active: it was activated.',
    }),
    request: Type.Object({}, { additionalProperties: true, description: 'What was asked for.' }),
    created_at: Instant,
  },
  { examples: [draftExample] },
)

export function draftAnswer(draft: SubscriptionDraft): Static<typeof DraftAnswer> {
  const state = stateOf(draft)
  return {
    id: draft.id,
    external_key: draft.externalKey,
    customer_id: draft.customerId,
    state: state === 'draft' || state === 'ended' ? state : 'active',
    request: draft.content,
    created_at: instantText(draft.createdAtMs),
  }
}
