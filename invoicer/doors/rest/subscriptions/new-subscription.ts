import { type Static, Type } from 'typebox'
import { Problem } from '../../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../../schemas/postgres/tenant.postgres.ts'
import { type CreateSubscription, createSubscription } from '../../../agreements/subscriptions/create-subscription.ts'
import type { SubscriptionDraft } from '../../../agreements/subscriptions/drafts.postgres.ts'
import { createDraft, refuseDraftKey } from '../../../agreements/subscriptions/drafts.ts'
import type { Subscription } from '../../../agreements/subscriptions/subscription.ts'
import { checkPlanPrice } from '../../../billing/rating/price-shape.ts'
import type { Means } from '../../../transaction.ts'
import { Instant, instantMs, Key, Nullable, strict } from '../shapes.ts'
import { chosenPlan, planChoice } from './chosen-plan.ts'
import { agreedOf, contractMembers } from './contract-shapes.ts'
import { heldMembers, heldOf } from './quantity-shapes.ts'

export const NewSubscription = Type.Object(
  {
    external_key: Key,
    customer: Type.String({ ...Key, description: 'Id or external key.' }),
    ...planChoice,
    start: Type.Optional(
      Type.String({
        ...Instant,
        description:
          'Floored to the whole minute; may lie in the past. A draft may leave it out: then it is when it is activated.',
      }),
    ),
    draft: Type.Optional(
      Type.Boolean({ description: 'Kept until it is activated; until then nothing of it is served or billed.' }),
    ),
    end: Type.Optional(Nullable(Type.String({ ...Instant, description: "The contract's end, floored likewise." }))),
    trial_days: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 3660,
        description: 'Served and not billed for so many days of its time zone.',
      }),
    ),
    trial_end: Type.Optional(Type.String({ ...Instant, description: 'Or until then, floored likewise.' })),
    ...contractMembers,
    ...heldMembers,
  },
  {
    ...strict,
    examples: [
      { external_key: 'customer-0-llm', customer: 'customer-0', plan: 'llm', start: '2023-11-01T00:00:00Z' },
      {
        ...{ external_key: 'customer-1-team', customer: 'customer-1', plan: 'team', start: '2023-11-01T00:00:00Z' },
        ...{ quantities: { seats: 5 }, add_ons: [{ plan: 'support', quantity: 1 }] },
      },
    ],
  },
)
export type NewSubscription = Static<typeof NewSubscription>

type Made = { created: boolean } & ({ subscription: Subscription } | { draft: SubscriptionDraft })

export async function createOrDraft(tx: TenantTransaction, body: NewSubscription, means: Means): Promise<Made> {
  const { external_key: externalKey, customer, draft, ...content } = body
  if (draft === true) return createDraft(tx, { externalKey, customer, content }, means)
  await refuseDraftKey(tx, externalKey)
  return createFrom(tx, body, means)
}

/** `id`: that of the draft that it was. @throws Problem as `createSubscription`. */
export async function createFrom(
  tx: TenantTransaction,
  body: NewSubscription,
  means: Means,
  id?: string,
): Promise<{ subscription: Subscription; created: boolean }> {
  const { start } = body
  if (start === undefined) throw invalid('start', 'Say when it starts, or send it as a draft.')
  const input = {
    id,
    externalKey: body.external_key,
    customer: body.customer,
    startMs: instantMs(start, 'start'),
    endMs: body.end == null ? null : instantMs(body.end, 'end'),
    trial: trialOf(body),
    agreed: agreedOf(body),
    ...heldOf(body),
  }
  const planKey = await chosenPlan(tx, { ...body, start })
  return createSubscription(tx, { ...input, planKey }, { ...means, checkPrice: checkPlanPrice })
}

function trialOf({ trial_days: days, trial_end: end }: NewSubscription): CreateSubscription['trial'] {
  if (days !== undefined && end !== undefined) throw invalid('trial_end', 'Give this or trial_days.')
  if (days !== undefined) return { days }
  return end === undefined ? undefined : { endMs: instantMs(end, 'trial_end') }
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', 'The request is not valid.', { errors: [{ path, message }] })
}
