import { type Static, Type } from 'typebox'
import type { App } from '../../../schemas/http/door.ts'
import { createSubscription } from '../../agreements/subscriptions/create-subscription.ts'
import { readSubscription } from '../../agreements/subscriptions/read-subscription.ts'
import type { Subscription } from '../../agreements/subscriptions/subscription.ts'
import { listSubscriptions } from '../../agreements/subscriptions/subscriptions.postgres.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantMs,
  instantText,
  instantTextOrNull,
  Key,
  Next,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from './shapes.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  external_key: 'customer-0-llm',
  customer_id: '01890a5d-ac96-774b-bcce-b302099a8056',
  plan: 'llm',
  state: 'active',
  start: '2023-11-01T00:00:00.000Z',
  end: null,
  next_period: { start: '2023-11-01T00:00:00.000Z', end: '2023-12-01T00:00:00.000Z' },
  created_at: '2023-12-01T00:00:00.000Z',
}

const NewSubscription = Type.Object(
  {
    external_key: Key,
    customer: Type.String({ ...Key, description: 'Id or external key.' }),
    plan: Type.String({ ...Key, description: 'Key.' }),
    start: Type.String({ ...Instant, description: 'Floored to the whole minute; may lie in the past.' }),
    end: Type.Optional(Nullable(Type.String({ ...Instant, description: "The contract's end, floored likewise." }))),
  },
  {
    ...strict,
    examples: [{ external_key: 'customer-0-llm', customer: 'customer-0', plan: 'llm', start: '2023-11-01T00:00:00Z' }],
  },
)

const SubscriptionAnswer = Type.Object(
  {
    id: Id,
    external_key: Type.String(),
    customer_id: Id,
    plan: Type.String(),
    state: Type.Literal('active'),
    start: Instant,
    end: Nullable(Instant),
    next_period: Nullable(Type.Object({ start: Instant, end: Instant }, { description: 'The first without invoice.' })),
    created_at: Instant,
  },
  { examples: [example] },
)

/** TCP-2: subscriptions. */
export function subscriptionsDoor(app: App, deps: DoorDeps): void {
  const tags = ['subscriptions']
  app.post(
    '/api/v1/subscriptions',
    {
      config: { permission: 'billing:subscriptions:create' },
      schema: {
        tags,
        summary: 'Subscribe a customer to a plan; the same again answers the stored subscription',
        description:
          'Of one customer, subscriptions whose times overlap must not price the same meter (409): the same usage would ' +
          'be billed twice.',
        body: NewSubscription,
        response: { 200: SubscriptionAnswer, 201: SubscriptionAnswer },
      },
    },
    async (request, reply) => {
      const { body } = request
      const input = {
        externalKey: body.external_key,
        customer: body.customer,
        planKey: body.plan,
        startMs: instantMs(body.start, 'start'),
        endMs: body.end == null ? null : instantMs(body.end, 'end'),
      }
      const { subscription, created } = await deps.transact(request.caller.tenantId, (tx) =>
        createSubscription(tx, input, deps),
      )
      return reply.code(created ? 201 : 200).send(answer(subscription))
    },
  )
  app.get(
    '/api/v1/subscriptions/:id',
    {
      config: { permission: 'billing:subscriptions:read' },
      schema: {
        tags,
        summary: 'Read a subscription by id or external key',
        params: IdParams,
        response: { 200: SubscriptionAnswer },
      },
    },
    async (request) =>
      answer(await deps.transact(request.caller.tenantId, (tx) => readSubscription(tx, request.params.id))),
  )
  app.get(
    '/api/v1/subscriptions',
    {
      config: { permission: 'billing:subscriptions:read' },
      schema: {
        tags,
        summary: 'List subscriptions',
        querystring: Type.Object({ customer: Type.Optional(Key), ...pageMembers }, strict),
        response: {
          200: Type.Object(
            { subscriptions: Type.Array(SubscriptionAnswer), next: Next },
            { examples: [{ subscriptions: [example], next: null }] },
          ),
        },
      },
    },
    async (request) => {
      const page = pageOf(request.query)
      const filter = { customer: request.query.customer ?? null }
      const subscriptions = await deps.transact(request.caller.tenantId, (tx) => listSubscriptions(tx, filter, page))
      return { subscriptions: subscriptions.map(answer), next: nextOf(subscriptions, page) }
    },
  )
}

function answer(subscription: Subscription): Static<typeof SubscriptionAnswer> {
  const { nextPeriod } = subscription
  return {
    id: subscription.id,
    external_key: subscription.externalKey,
    customer_id: subscription.customerId,
    plan: subscription.planKey,
    state: subscription.state,
    start: instantText(subscription.startMs),
    end: instantTextOrNull(subscription.endMs),
    next_period: nextPeriod && { start: instantText(nextPeriod.startMs), end: instantText(nextPeriod.endMs) },
    created_at: instantText(subscription.createdAtMs),
  }
}
