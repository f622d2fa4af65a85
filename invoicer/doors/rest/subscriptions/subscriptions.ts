import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { CANCEL_FEES } from '../../../agreements/subscriptions/cancel-subscription.ts'
import { type Change, changeSubscription } from '../../../agreements/subscriptions/change-subscription.ts'
import { type CreateSubscription, createSubscription } from '../../../agreements/subscriptions/create-subscription.ts'
import { STATES, stateAt } from '../../../agreements/subscriptions/lifecycle.ts'
import type { Moment } from '../../../agreements/subscriptions/pause-subscription.ts'
import { phaseAt, trialEndOf } from '../../../agreements/subscriptions/phases.ts'
import { readSubscription } from '../../../agreements/subscriptions/read-subscription.ts'
import type { Subscription } from '../../../agreements/subscriptions/subscription.ts'
import { listSubscriptions } from '../../../agreements/subscriptions/subscriptions.postgres.ts'
import { isDowngrade } from '../../../billing/is-downgrade.ts'
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
} from '../shapes.ts'

const example = {
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  external_key: 'customer-0-llm',
  customer_id: '01890a5d-ac96-774b-bcce-b302099a8056',
  plan: 'llm',
  plan_version: 1,
  state: 'active' as const,
  trial_end: null,
  pending_plan: { plan: 'llm-small', plan_version: 3, at: '2023-12-01T00:00:00.000Z' },
  phases: [
    { start: '2023-11-01T00:00:00.000Z', plan: 'llm', plan_version: 1, kind: 'active' as const, billed: true },
    { start: '2023-12-01T00:00:00.000Z', plan: 'llm-small', plan_version: 3, kind: 'active' as const, billed: true },
  ],
  start: '2023-11-01T00:00:00.000Z',
  end: null,
  contract_end: null,
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
    trial_days: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 3660,
        description: 'Served and not billed for so many days of its time zone.',
      }),
    ),
    trial_end: Type.Optional(Type.String({ ...Instant, description: 'Or until then, floored likewise.' })),
  },
  {
    ...strict,
    examples: [{ external_key: 'customer-0-llm', customer: 'customer-0', plan: 'llm', start: '2023-11-01T00:00:00Z' }],
  },
)

const AtPeriodEnd = Type.Union([Type.Literal('period_end'), Type.Literal('now')])
const When = (description: string) => Nullable(Type.Union([AtPeriodEnd, Instant], { description }))

const SubscriptionUpdate = Type.Object(
  {
    cancel: Type.Optional(
      Nullable(
        Type.Union([Type.Literal('period_end'), Type.Literal('now')], {
          description:
            'When it ends: with the period that runs (or its trial, if that ends before), or now, floored to the minute. ' +
            'null takes that back.',
        }),
      ),
    ),
    fees: Type.Optional(
      Type.Union([...CANCEL_FEES.map((one) => Type.Literal(one)), Type.Literal('refund')], {
        description:
          'With cancel now: what becomes of fees billed in advance of the time behind the end. credit, the default: the ' +
          'last invoice gives them back, and what is then below 0 becomes balance; none: they stay. refund is refused: ' +
          'payments cannot be given back by the gateway yet.',
      }),
    ),
    plan: Type.Optional(
      Nullable(Type.String({ ...Key, description: 'The plan to change to, by its key; null keeps the one it is on.' })),
    ),
    when: Type.Optional(
      Type.Union([Type.Literal('period_end'), Type.Literal('now')], {
        description:
          'When the plan changes. By default with the period if its recurring fee is lower, and else now; in a trial and ' +
          'before the start always now, because nothing is billed yet.',
      }),
    ),
    pause: Type.Optional(When('From when on it is paused, until it is resumed; null takes back a pause to come.')),
    bill: Type.Optional(
      Type.Boolean({ description: 'Whether fees and usage are billed in the pause; by default not.' }),
    ),
    resume: Type.Optional(Type.Union([AtPeriodEnd, Instant], { description: 'From when on it is active again.' })),
  },
  {
    ...strict,
    examples: [
      { plan: 'llm-large' },
      { plan: 'llm-small', when: 'period_end' },
      { plan: null },
      { pause: 'now' },
      { pause: '2024-01-15T00:00:00Z', bill: true },
      { resume: 'now' },
      { cancel: 'period_end' },
      { cancel: 'now', fees: 'none' },
      { cancel: null },
    ],
  },
)

const ChangeHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({ ...Key, description: 'The same key again is answered as the first time, and changes nothing.' }),
  ),
})

const SubscriptionAnswer = Type.Object(
  {
    id: Id,
    external_key: Type.String(),
    customer_id: Id,
    plan: Type.String({ description: 'The one that it is on.' }),
    plan_version: Type.Integer({
      description: 'The version of the plan; it stays until the plan is changed, to another or the same.',
    }),
    state: Type.Enum([...STATES], {
      description: 'cancelled: it goes on until its end. ended: its last period has an invoice.',
    }),
    trial_end: Nullable(Instant),
    pending_plan: Nullable(
      Type.Object(
        { plan: Type.String(), plan_version: Type.Integer(), at: Instant },
        { description: 'The change of plan that is to come.' },
      ),
    ),
    phases: Type.Array(
      Type.Object({
        start: Instant,
        plan: Type.String(),
        plan_version: Type.Integer(),
        kind: Type.Enum(['active', 'trial', 'paused']),
        billed: Type.Boolean(),
      }),
      { description: 'Each lasts until the next one. A period in which one begins is billed in parts.' },
    ),
    start: Instant,
    end: Nullable(Instant),
    contract_end: Nullable(Type.String({ ...Instant, description: 'Where it ends without a cancellation.' })),
    next_period: Nullable(Type.Object({ start: Instant, end: Instant }, { description: 'The first without invoice.' })),
    created_at: Instant,
  },
  { examples: [example] },
)

const tags = ['subscriptions']

/** TCP-2: subscriptions. */
export function subscriptionsDoor(app: App, deps: DoorDeps): void {
  mountChanges(app, deps)
  mountReads(app, deps)
}

function mountChanges(app: App, deps: DoorDeps): void {
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
        trial: trialOf(body),
      }
      const { subscription, created } = await deps.transact(request.caller.tenantId, (tx) =>
        createSubscription(tx, input, deps),
      )
      return reply.code(created ? 201 : 200).send(answer(subscription, deps.now()))
    },
  )
  app.patch(
    '/api/v1/subscriptions/:id',
    {
      config: { permission: 'billing:subscriptions:update' },
      schema: {
        tags,
        summary: 'Change the plan of a subscription, pause, resume or cancel it; the same again changes nothing',
        description:
          'One change a call: `plan` (with `when`), `pause` (with `bill`), `resume` or `cancel`. A change of plan cuts the ' +
          'period: each part is rated by its own plan, fees by the time that it has of the period, tiers and included ' +
          'units from zero. The other plan must have the same currency; with another interval or alignment a new period ' +
          'begins with the change, and with the same ones it must have the same proration basis. Its preview ' +
          'shows credit, charge and the coming invoice. A change to come takes the version of the plan that is in effect ' +
          'at its time, as known when it was asked for: the same again keeps it; take it back first for a newer one. In a ' +
          'trial and in a pause neither fees nor usage are billed. What was used until a cancellation is billed when its ' +
          'last period is due, and of a fee the part that was served: what was billed of it in advance for the time behind is ' +
          'given back then, unless `fees` says otherwise. What its state does not allow is refused with ' +
          'illegal_state (409) and changes nothing, as is what would make more than 500 phases. One that is cancelled ' +
          'before it begins has ended: its external key stays taken.',
        params: IdParams,
        headers: ChangeHeaders,
        body: SubscriptionUpdate,
        response: { 200: SubscriptionAnswer },
      },
    },
    async ({ caller, params, body, headers }) => {
      const change = changeOf(body)
      const key = headers['idempotency-key'] ?? null
      const changed = await deps.transact(caller.tenantId, (tx) =>
        changeSubscription(tx, params.id, change, key, { ...deps, isDowngrade }),
      )
      return answer(changed.subscription, changed.atMs)
    },
  )
}

/** @throws Problem invalid_request for more or less than one change, or a member of another. */
function changeOf({ cancel, fees, plan, when, pause, bill, resume }: Static<typeof SubscriptionUpdate>): Change {
  const changes = { cancel, plan, pause, resume }
  if (Object.values(changes).filter((change) => change !== undefined).length !== 1) {
    throw invalid('', `Give one of ${Object.keys(changes).join(', ')}.`)
  }
  if (when !== undefined && plan == null) throw invalid('when', 'This goes with a plan.')
  if (bill !== undefined && pause == null) throw invalid('bill', 'This goes with a pause.')
  if (fees !== undefined && cancel !== 'now') throw invalid('fees', 'This goes with cancel now.')
  if (plan !== undefined) return { plan, when: when ?? null }
  if (pause !== undefined) return { pause: pause === null ? null : momentOf(pause, 'pause'), bill: bill ?? false }
  if (resume !== undefined) return { resume: momentOf(resume, 'resume') }
  if (fees === 'refund') {
    throw invalid(
      'fees',
      'The gateway cannot refund yet: take credit, which becomes balance, and pay that out by hand.',
    )
  }
  return { cancel: cancel ?? null, ...(fees === undefined ? {} : { fees }) }
}

function momentOf(text: string, path: string): Moment {
  return text === 'now' || text === 'period_end' ? text : { atMs: instantMs(text, path) }
}

function trialOf({ trial_days: days, trial_end: end }: Static<typeof NewSubscription>): CreateSubscription['trial'] {
  if (days !== undefined && end !== undefined) throw invalid('trial_end', 'Give this or trial_days.')
  if (days !== undefined) return { days }
  return end === undefined ? undefined : { endMs: instantMs(end, 'trial_end') }
}

function invalid(path: string, message: string): Problem {
  return new Problem('invalid_request', 'The request is not valid.', { errors: [{ path, message }] })
}

function mountReads(app: App, deps: DoorDeps): void {
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
      answer(await deps.transact(request.caller.tenantId, (tx) => readSubscription(tx, request.params.id)), deps.now()),
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
      const nowMs = deps.now()
      return { subscriptions: subscriptions.map((one) => answer(one, nowMs)), next: nextOf(subscriptions, page) }
    },
  )
}

/** As it was at a time: which of its phases is the present one depends on that. */
function answer(subscription: Subscription, atMs: number): Static<typeof SubscriptionAnswer> {
  const { nextPeriod, phases, endMs } = subscription
  const now = phaseAt(phases, atMs)
  // What would begin behind its end never does, unless that is taken back.
  const beginning = phases.filter(({ startMs }, index) => index === 0 || endMs === null || startMs < endMs)
  const pending = beginning.find(({ startMs, planId }) => startMs > atMs && planId !== now.planId)
  return {
    id: subscription.id,
    external_key: subscription.externalKey,
    customer_id: subscription.customerId,
    plan: now.planKey,
    plan_version: now.planVersion,
    // One whose end has come goes on to say what it was until its last period has an invoice.
    state: stateAt({ ...subscription, endMs: null }, atMs),
    trial_end: instantTextOrNull(earlier(trialEndOf(phases), endMs)),
    pending_plan:
      pending === undefined
        ? null
        : { plan: pending.planKey, plan_version: pending.planVersion, at: instantText(pending.startMs) },
    phases: beginning.map(({ startMs, planKey, planVersion, kind, bills }) => {
      return { start: instantText(startMs), plan: planKey, plan_version: planVersion, kind, billed: bills }
    }),
    start: instantText(subscription.startMs),
    end: instantTextOrNull(endMs),
    contract_end: instantTextOrNull(subscription.contractEndMs),
    next_period: nextPeriod && { start: instantText(nextPeriod.startMs), end: instantText(nextPeriod.endMs) },
    created_at: instantText(subscription.createdAtMs),
  }
}

/** Where a trial ends; the subscription may end before. */
function earlier(trialEndMs: number | null, endMs: number | null): number | null {
  return trialEndMs === null || endMs === null ? trialEndMs : Math.min(trialEndMs, endMs)
}
