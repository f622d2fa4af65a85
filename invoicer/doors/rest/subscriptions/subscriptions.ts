import { type Static, Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { CANCEL_FEES } from '../../../agreements/subscriptions/cancel-subscription.ts'
import { type Change, changeSubscription } from '../../../agreements/subscriptions/change-subscription.ts'
import { STATES, stateAt } from '../../../agreements/subscriptions/lifecycle.ts'
import type { Moment } from '../../../agreements/subscriptions/pause-subscription.ts'
import { phaseAt, trialEndOf } from '../../../agreements/subscriptions/phases.ts'
import { readSubscriptionOrDraft } from '../../../agreements/subscriptions/read-subscription.ts'
import type { Subscription } from '../../../agreements/subscriptions/subscription.ts'
import { listSubscriptions } from '../../../agreements/subscriptions/subscriptions.postgres.ts'
import { isDowngrade } from '../../../billing/is-downgrade.ts'
import { checkPlanPrice } from '../../../billing/rating/price-shape.ts'
import {
  type DoorDeps,
  Id,
  IdParams,
  Instant,
  instantMs,
  instantText,
  instantTextOrNull,
  Key,
  listOf,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
} from '../shapes.ts'
import { NewOverrides, overridesOf } from './contract-shapes.ts'
import { DraftAnswer, draftAnswer } from './draft-shapes.ts'
import { createOrDraft, NewSubscription } from './new-subscription.ts'
import { heldAnswer, heldAnswers, heldChangeOf, heldMembers, heldOf } from './quantity-shapes.ts'

const phaseExample = { kind: 'active' as const, billed: true, negotiated: false }
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
    { start: '2023-11-01T00:00:00.000Z', plan: 'llm', plan_version: 1, ...phaseExample },
    { start: '2023-12-01T00:00:00.000Z', plan: 'llm-small', plan_version: 3, ...phaseExample },
  ],
  start: '2023-11-01T00:00:00.000Z',
  end: null,
  contract_end: null,
  next_period: { start: '2023-11-01T00:00:00.000Z', end: '2023-12-01T00:00:00.000Z' },
  created_at: '2023-12-01T00:00:00.000Z',
}

const AtPeriodEnd = Type.Union([Type.Literal('period_end'), Type.Literal('now')])
const When = (description: string) => Nullable(Type.Union([AtPeriodEnd, Instant], { description }))

const SubscriptionUpdate = Type.Object(
  {
    cancel: Type.Optional(
      Nullable(
        Type.Enum(['period_end', 'term_end', 'now'], {
          description:
            'When it ends: with the period that runs (or its trial, if that ends before), with the term that was agreed, ' +
            'or now, floored to the minute. null takes that back.',
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
    overrides: Type.Optional(NewOverrides),
    ...heldMembers,
    when: Type.Optional(
      Type.Union([Type.Literal('period_end'), Type.Literal('now')], {
        description:
          'When the plan, quantities or add-ons change. By default with the period if the recurring fee of the plan is ' +
          'lower, or the quantities are, and else now; in a trial and before the start always now, because nothing is ' +
          'billed yet.',
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
      { quantities: { seats: 8 } },
      { add_ons: [{ plan: 'support', quantity: '1' }] },
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

export const SubscriptionAnswer = Type.Object(
  {
    id: Id,
    external_key: Type.String(),
    customer_id: Id,
    plan: Type.String({ description: 'The one that it is on.' }),
    plan_version: Type.Integer({
      description: 'The version of the plan; it stays until the plan is changed, to another or the same.',
    }),
    ...heldAnswers,
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
        negotiated: Type.Boolean({ description: 'With prices of its own: see its terms.' }),
        ...heldAnswers,
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

const SubscriptionOrDraft = Type.Union([SubscriptionAnswer, DraftAnswer], { examples: [example] })

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
          'be billed twice. As a draft it is kept until it is activated.',
        body: NewSubscription,
        response: { 200: SubscriptionOrDraft, 201: SubscriptionOrDraft },
      },
    },
    async (request, reply) => {
      const made = await deps.transact(request.caller.tenantId, (tx) => createOrDraft(tx, request.body, deps))
      const shown = 'draft' in made ? draftAnswer(made.draft) : answer(made.subscription, deps.now())
      return reply.code(made.created ? 201 : 200).send(shown)
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
          'One change a call: `plan` (with `when` and `quantities`), `quantities` or `add_ons` (with `when`), `pause` (with ' +
          '`bill`), `resume` or `cancel`. A change of quantities or add-ons is charged for the time that is left of the ' +
          'period, and given back likewise, by its invoice; usage is not cut by it. A change of plan cuts the period: ' +
          'each part is rated by its own plan, fees by the time that it has of the period, tiers and included units from ' +
          'zero. The other plan must have the same currency; with another interval or alignment a new period ' +
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
        changeSubscription(tx, params.id, change, key, { ...deps, isDowngrade, checkPrice: checkPlanPrice }),
      )
      return answer(changed.subscription, changed.atMs)
    },
  )
}

/** @throws Problem invalid_request for more or less than one change, or a member of another. */
function changeOf(update: Static<typeof SubscriptionUpdate>): Change {
  const { cancel, fees, plan, when, overrides, pause, bill, resume } = update
  const held = heldChangeOf(update)
  const changes = { cancel, plan, pause, resume, quantities: held }
  if (Object.values(changes).filter((change) => change !== undefined).length !== 1) {
    throw invalid('', `Give one of ${Object.keys(changes).join(', ')} or add_ons.`)
  }
  if (when !== undefined && plan == null && held === undefined) throw invalid('when', 'This goes with a plan.')
  if (bill !== undefined && pause == null) throw invalid('bill', 'This goes with a pause.')
  if (fees !== undefined && cancel !== 'now') throw invalid('fees', 'This goes with cancel now.')
  if (overrides !== undefined && plan == null) throw invalid('overrides', 'This goes with a plan.')
  if (held !== undefined) return held
  if (plan === null && update.quantities !== undefined) throw invalid('quantities', 'This goes with another plan.')
  if (plan !== undefined) {
    const { quantities } = heldOf(update)
    const agreed = overrides === undefined ? {} : { overrides: overridesOf(overrides) }
    return { ...(quantities === undefined ? {} : { quantities }), plan, when: when ?? null, ...agreed }
  }
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
        response: { 200: SubscriptionOrDraft },
      },
    },
    async ({ caller, params }) => {
      const found = await deps.transact(caller.tenantId, (tx) => readSubscriptionOrDraft(tx, params.id))
      return 'content' in found ? draftAnswer(found) : answer(found, deps.now())
    },
  )
  app.get(
    '/api/v1/subscriptions',
    {
      config: { permission: 'billing:subscriptions:read' },
      schema: {
        tags,
        summary: 'List subscriptions',
        querystring: Type.Object({ customer: Type.Optional(Key), ...pageMembers }, strict),
        response: { 200: listOf('subscriptions', SubscriptionAnswer, example) },
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
export function answer(subscription: Subscription, atMs: number): Static<typeof SubscriptionAnswer> {
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
    ...heldAnswer(now),
    // One whose end has come goes on to say what it was until its last period has an invoice.
    state: stateAt({ ...subscription, endMs: null }, atMs),
    trial_end: instantTextOrNull(earlier(trialEndOf(phases), endMs)),
    pending_plan:
      pending === undefined
        ? null
        : { plan: pending.planKey, plan_version: pending.planVersion, at: instantText(pending.startMs) },
    phases: beginning.map(({ startMs, planKey, planVersion, kind, bills, negotiated = false, ...phase }) => ({
      ...{ start: instantText(startMs), plan: planKey, plan_version: planVersion, kind, billed: bills, negotiated },
      ...heldAnswer(phase),
    })),
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
