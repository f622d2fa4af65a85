import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import type { App } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { CurrencyText } from '../../../schemas/money.ts'
import { createPlan } from '../../agreements/plans/create-plan.ts'
import type { Plan } from '../../agreements/plans/plan.ts'
import { listPlans } from '../../agreements/plans/plans.postgres.ts'
import { readPlan } from '../../agreements/plans/read-plan.ts'
import { checkPrice, Price } from '../../billing/rating/price.ts'
import {
  type DoorDeps,
  Id,
  Instant,
  instantText,
  Key,
  Next,
  Nullable,
  nextOf,
  pageMembers,
  pageOf,
  strict,
  Text,
} from './shapes.ts'

const DEFAULT_GRACE_SECONDS = 3600
const MAX_GRACE_SECONDS = 30 * 86_400

const exampleBody = {
  key: 'llm',
  name: 'LLM usage',
  currency: 'USD',
  interval: 'month',
  alignment: 'calendar',
  grace_seconds: 3600,
  charges: [
    { key: 'base', name: 'Base fee', price: { model: 'flat', amount: '20.00' } },
    {
      key: 'context',
      name: 'Context tokens',
      meter: 'context_tokens',
      price: { model: 'per_unit', unit_amount: '0.000003' },
    },
  ],
}
const example = {
  ...exampleBody,
  id: '01890a5d-ac96-774b-bcce-b302099a8057',
  charges: exampleBody.charges.map((charge) => ({ ...charge, meter: charge.meter ?? null })),
  created_at: '2023-12-01T00:00:00.000Z',
}

const interval = Type.Union([Type.Literal('day'), Type.Literal('week'), Type.Literal('month'), Type.Literal('year')])
const alignment = Type.Union([Type.Literal('calendar'), Type.Literal('anniversary')])
const graceSeconds = Type.Integer({
  minimum: 0,
  maximum: MAX_GRACE_SECONDS,
  description: 'How long a period stays open for late usage after its end.',
})

const NewPlan = Type.Object(
  {
    key: Key,
    name: Text(512),
    currency: CurrencyText,
    interval,
    alignment: Type.Optional(alignment),
    grace_seconds: Type.Optional(graceSeconds),
    charges: Type.Array(
      Type.Object({ key: Key, name: Text(512), meter: Type.Optional(Nullable(Key)), price: Price }, strict),
      { minItems: 1, maxItems: 100 },
    ),
  },
  { ...strict, examples: [exampleBody] },
)

const PlanAnswer = Type.Object(
  {
    id: Id,
    key: Type.String(),
    name: Type.String(),
    currency: Type.String(),
    interval,
    alignment,
    grace_seconds: Type.Integer(),
    charges: Type.Array(
      Type.Object({ key: Type.String(), name: Type.String(), meter: Nullable(Type.String()), price: Price }),
    ),
    created_at: Instant,
  },
  { examples: [example] },
)

/** Plans: what is charged each period. */
export function plansDoor(app: App, deps: DoorDeps): void {
  const tags = ['plans']
  app.post(
    '/api/v1/plans',
    {
      config: { permission: 'billing:plans:create' },
      schema: {
        tags,
        summary: 'Create a plan; the same again answers the stored one',
        body: NewPlan,
        response: { 200: PlanAnswer, 201: PlanAnswer },
      },
    },
    async (request, reply) => {
      const { body } = request
      const input = {
        key: body.key,
        name: body.name,
        currency: body.currency,
        interval: body.interval,
        alignment: body.alignment ?? ('anniversary' as const),
        graceSeconds: body.grace_seconds ?? DEFAULT_GRACE_SECONDS,
        charges: body.charges.map(({ key, name, meter, price }) => ({ key, name, meter: meter ?? null, price })),
      }
      const { plan, created } = await deps.transact(request.caller.tenantId, (tx) =>
        createPlan(tx, input, checkPrice, deps),
      )
      return reply.code(created ? 201 : 200).send(answer(plan))
    },
  )
  app.get(
    '/api/v1/plans/:key',
    {
      config: { permission: 'billing:plans:read' },
      schema: {
        tags,
        summary: 'Read a plan by its key',
        params: Type.Object({ key: Key }, strict),
        response: { 200: PlanAnswer },
      },
    },
    async (request) => answer(await deps.transact(request.caller.tenantId, (tx) => readPlan(tx, request.params.key))),
  )
  app.get(
    '/api/v1/plans',
    {
      config: { permission: 'billing:plans:read' },
      schema: {
        tags,
        summary: 'List plans',
        querystring: Type.Object(pageMembers, strict),
        response: {
          200: Type.Object(
            { plans: Type.Array(PlanAnswer), next: Next },
            { examples: [{ plans: [example], next: null }] },
          ),
        },
      },
    },
    async (request) => {
      const page = pageOf(request.query)
      const plans = await deps.transact(request.caller.tenantId, (tx) => listPlans(tx, page))
      return { plans: plans.map(answer), next: nextOf(plans, page) }
    },
  )
}

function answer(plan: Plan): Static<typeof PlanAnswer> {
  const charges = plan.charges.map(({ price, ...charge }) => {
    if (!Value.Check(Price, price))
      throw new Problem('internal', `Charge ${charge.key} has no price that can be shown.`)
    return { ...charge, price }
  })
  return {
    id: plan.id,
    key: plan.key,
    name: plan.name,
    currency: plan.currency,
    interval: plan.interval,
    alignment: plan.alignment,
    grace_seconds: plan.graceSeconds,
    charges,
    created_at: instantText(plan.createdAtMs),
  }
}
