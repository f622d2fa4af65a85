import { Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { listDrafts } from '../../../agreements/subscriptions/drafts.postgres.ts'
import { activateDraft, discardDraft, reviseDraft } from '../../../agreements/subscriptions/drafts.ts'
import {
  type DoorDeps,
  IdParams,
  Instant,
  instantText,
  Key,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from '../shapes.ts'
import { DraftAnswer, draftAnswer, draftExample } from './draft-shapes.ts'
import { createFrom, NewSubscription } from './new-subscription.ts'
import { answer, SubscriptionAnswer } from './subscriptions.ts'

const { external_key: _key, customer: _customer, draft: _draft, ...revisable } = NewSubscription.properties

/** Each member as for a new subscription, or null to take it out. */
const Revision = Type.Object(
  Object.fromEntries(Object.entries(revisable).map(([name, schema]) => [name, Type.Optional(Nullable(schema))])),
  { ...strict, examples: [{ plan: 'llm-large', trial_days: null }] },
)

const Activation = Type.Object(
  {
    start: Type.Optional(Type.String({ ...Instant, description: 'Instead of its own; without either it starts now.' })),
  },
  { ...strict, examples: [{}, { start: '2024-01-01T00:00:00Z' }] },
)

const tags = ['subscriptions']
const permission = 'billing:subscriptions:update'

/** Subscriptions that are still to be agreed: changed, and then activated or discarded. */
export function draftsDoor(app: App, deps: DoorDeps): void {
  mountList(app, deps)
  app.patch(
    '/api/v1/subscriptions/:id/draft',
    {
      config: { permission },
      schema: {
        tags,
        summary: 'Change the draft of a subscription; the same again changes nothing',
        params: IdParams,
        body: Revision,
        response: { 200: DraftAnswer },
      },
    },
    async ({ caller, params, body }) =>
      draftAnswer(await deps.transact(caller.tenantId, (tx) => reviseDraft(tx, params.id, body, deps))),
  )
  app.post(
    '/api/v1/subscriptions/:id/activate',
    {
      config: { permission },
      schema: {
        tags,
        summary: 'Make a draft the subscription that it says; activated before, it is answered as it is',
        description:
          'It has the id of its draft. From here on it is like any other: what overlaps with it is refused (409), and ' +
          'it is billed from its start on.',
        params: IdParams,
        body: Activation,
        response: { 200: SubscriptionAnswer, 201: SubscriptionAnswer },
      },
    },
    async ({ caller, params, body }, reply) => {
      const nowMs = deps.now()
      const { subscription, created } = await deps.transact(caller.tenantId, (tx) =>
        activateDraft(tx, params.id, body, (content, { id, externalKey, customerId }) => {
          const whole = { start: instantText(nowMs), ...content, external_key: externalKey, customer: customerId }
          return createFrom(tx, whole, deps, id)
        }),
      )
      return reply.code(created ? 201 : 200).send(answer(subscription, nowMs))
    },
  )
  app.post(
    '/api/v1/subscriptions/:id/discard',
    {
      config: { permission },
      schema: {
        tags,
        summary: 'Discard the draft of a subscription: it never was one, and its external key is free',
        params: IdParams,
        body: Type.Object({}, { ...strict, examples: [{}] }),
        response: { 200: DraftAnswer },
      },
    },
    async ({ caller, params }) =>
      draftAnswer(await deps.transact(caller.tenantId, (tx) => discardDraft(tx, params.id, deps))),
  )
}

function mountList(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/subscription-drafts',
    {
      config: { permission: 'billing:subscriptions:read' },
      schema: {
        tags,
        summary: 'List subscriptions that are still drafts',
        querystring: Type.Object({ customer: Type.Optional(Key), ...pageMembers }, strict),
        response: { 200: listOf('drafts', DraftAnswer, draftExample) },
      },
    },
    async ({ caller, query }) => {
      const page = pageOf(query)
      const filter = { customer: query.customer ?? null }
      const drafts = await deps.transact(caller.tenantId, (tx) => listDrafts(tx, filter, page))
      return { drafts: drafts.map(draftAnswer), next: nextOf(drafts, page) }
    },
  )
}
