import { type Static, Type } from 'typebox'
import { Value } from 'typebox/value'
import type { App } from '../../../../schemas/http/door.ts'
import { Problem } from '../../../../schemas/http/problem.ts'
import { CurrencyText } from '../../../../schemas/money.ts'
import { INTERVALS } from '../../../../schemas/time/period.ts'
import { createPlan } from '../../../agreements/plans/create-plan.ts'
import { createVersion } from '../../../agreements/plans/create-version.ts'
import { FEE_TIMES, type Plan } from '../../../agreements/plans/plan.ts'
import { listPlans } from '../../../agreements/plans/plans.postgres.ts'
import { readPlan, readVersions } from '../../../agreements/plans/read-plan.ts'
import { Price } from '../../../billing/rating/price.ts'
import { checkPlanPrice, PRICE_MODELS } from '../../../billing/rating/price-shape.ts'
import { PRORATION_BASES } from '../../../billing/unused.ts'
import { type Transact, undone } from '../../../transaction.ts'
import {
  type DoorDeps,
  Id,
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
  Text,
} from '../shapes.ts'

const MAX_EVERY = 366
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
  version: 1,
  effective_from: null,
  hash: '6b0c8eb6c6d8a5b4ff6b1a6d9a5e3d1a4c0f7f3b1c9d2e8a7b6c5d4e3f2a1b0c',
  every: 1,
  proration_basis: 'second' as const,
  fees: 'in_advance' as const,
  charges: exampleBody.charges.map((charge) => ({ ...charge, meter: charge.meter ?? null })),
  created_at: '2023-12-01T00:00:00.000Z',
}

const interval = Type.Enum(INTERVALS, { description: 'A period is `every` of these.' })
const every = Type.Integer({
  minimum: 1,
  maximum: MAX_EVERY,
  description: 'A period is so many intervals long, and ten years at most.',
})
const prorationBasis = Type.Enum(PRORATION_BASES, {
  description: "What of a period that is cut is counted: its seconds, or the calendar days of the customer's zone.",
})
const fees = Type.Enum(FEE_TIMES, {
  description:
    'When the fees of a period (its flat prices) are billed: on the invoice of the period before, those of the first one ' +
    'on an invoice of their own as it begins; or, as usage always is, when it is over. Default: as the version ' +
    'before, in_advance for a new plan.',
})
const alignment = Type.Union([Type.Literal('calendar'), Type.Literal('anniversary')])
const graceSeconds = Type.Integer({
  minimum: 0,
  maximum: MAX_GRACE_SECONDS,
  description: 'How long a period stays open for late usage after its end.',
})

/** Checked by its model in the operation, which can say what is wrong with it; the answer has the schema of each. */
const NewPrice = Type.Object(
  { model: Type.String({ maxLength: 64, description: `One of ${PRICE_MODELS.join(', ')}.` }) },
  {
    additionalProperties: true,
    description:
      'A price as in the answer. matrix, and a percentage with parts per event, need a meter that adds its events up. ' +
      'The dimensions of a matrix are paths inside the data of events, such as `region` or `model.size`.',
  },
)

const Attributes = Type.Optional(
  Type.Array(Text(512), {
    maxItems: 5,
    description:
      'Properties of the events that the line lists with their quantities, such as `payer` and `code`: paths inside the ' +
      'data of events. The meter has to add its events up.',
  }),
)
const content = {
  name: Text(512),
  currency: CurrencyText,
  interval,
  every: Type.Optional(every),
  alignment: Type.Optional(alignment),
  grace_seconds: Type.Optional(graceSeconds),
  proration_basis: Type.Optional(prorationBasis),
  fees: Type.Optional(fees),
  charges: Type.Array(
    Type.Object(
      { key: Key, name: Text(512), meter: Type.Optional(Nullable(Key)), price: NewPrice, attributes: Attributes },
      strict,
    ),
    { minItems: 1, maxItems: 100 },
  ),
}
const NewContent = Type.Object(content)
const NewPlan = Type.Object({ key: Key, ...content }, { ...strict, examples: [exampleBody] })

const { key: _, ...exampleContent } = exampleBody
const NewVersion = Type.Object(
  {
    version: Type.Optional(
      Type.Integer({
        minimum: 2,
        maximum: 2_147_483_647,
        description: 'The number that it is to have: named, the call can be sent again at any time. Default: the next.',
      }),
    ),
    effective_from: Type.Optional(
      Type.String({
        format: 'date-time',
        description:
          'Subscriptions and changes made after it that begin from then on take it; those made before keep theirs. A ' +
          'whole minute, not in the past, and five years ahead at most. Default: now, or with the latest version where ' +
          'that lies at most five minutes ahead.',
      }),
    ),
    ...content,
  },
  { ...strict, examples: [{ version: 2, effective_from: '2024-01-01T00:00:00Z', ...exampleContent }] },
)

const PlanAnswer = Type.Object(
  {
    id: Id,
    key: Type.String(),
    version: Type.Integer({ description: 'A version never changes; a subscription stays on the one that it has.' }),
    effective_from: Nullable(Instant),
    hash: Type.String({ description: 'SHA-256 of what decides amounts, names left out. Invoices quote it.' }),
    name: Type.String(),
    currency: Type.String(),
    interval,
    every: Type.Integer(),
    alignment,
    grace_seconds: Type.Integer(),
    proration_basis: prorationBasis,
    fees,
    charges: Type.Array(
      Type.Object({
        ...{ key: Type.String(), name: Type.String(), meter: Nullable(Type.String()), price: Price },
        attributes: Attributes,
      }),
    ),
    created_at: Instant,
  },
  { examples: [example] },
)

const Rehearsal = Type.Object(
  {
    dry_run: Type.Optional(
      Type.Union([Type.Literal('true'), Type.Literal('false')], {
        description: 'true: check everything and answer what would be stored, and store nothing.',
      }),
    ),
  },
  strict,
)
const KeyParams = Type.Object({ key: Key }, strict)
const VersionQuery = Type.Object(
  {
    version: Type.Optional(Type.String({ pattern: '^[1-9][0-9]{0,8}$', description: 'Default: that in effect now.' })),
  },
  strict,
)

/** Plans: what is charged each period. */
export function plansDoor(app: App, deps: DoorDeps): void {
  writes(app, deps)
  readsOfOne(app, deps)
  readsOfAll(app, deps)
}

const tags = ['plans']

function writes(app: App, deps: DoorDeps): void {
  app.post(
    '/api/v1/plans',
    {
      config: { permission: 'billing:plans:create' },
      schema: {
        tags,
        summary: 'Create a plan; the same again answers the stored one',
        querystring: Rehearsal,
        body: NewPlan,
        response: { 200: PlanAnswer, 201: PlanAnswer },
      },
    },
    async (request, reply) => {
      const input = { key: request.body.key, ...contentOf(request.body) }
      const { plan, created } = await transactOf(deps, request.query)(request.caller.tenantId, (tx) =>
        createPlan(tx, input, checkPlanPrice, deps),
      )
      return reply.code(created ? 201 : 200).send(answer(plan))
    },
  )
  app.post(
    '/api/v1/plans/:key/versions',
    {
      config: { permission: 'billing:plans:create' },
      schema: {
        tags,
        summary: 'Create a version of a plan; the same again answers the stored one, and no subscription moves to it',
        params: KeyParams,
        querystring: Rehearsal,
        body: NewVersion,
        response: { 200: PlanAnswer, 201: PlanAnswer },
      },
    },
    async (request, reply) => {
      const { version, effective_from: from } = request.body
      const input = {
        key: request.params.key,
        version,
        effectiveFromMs: from === undefined ? undefined : instantMs(from, 'effective_from'),
        content: contentOf(request.body),
      }
      const { plan, created } = await transactOf(deps, request.query)(request.caller.tenantId, (tx) =>
        createVersion(tx, input, checkPlanPrice, deps),
      )
      return reply.code(created ? 201 : 200).send(answer(plan))
    },
  )
}

function readsOfOne(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/plans/:key',
    {
      config: { permission: 'billing:plans:read' },
      schema: {
        tags,
        summary: 'Read a plan by its key: the version in effect now, or another by its number',
        params: KeyParams,
        querystring: VersionQuery,
        response: { 200: PlanAnswer },
      },
    },
    async (request) => {
      const { version } = request.query
      const wanted = version === undefined ? { atMs: deps.now() } : { version: Number(version) }
      return answer(await deps.transact(request.caller.tenantId, (tx) => readPlan(tx, request.params.key, wanted)))
    },
  )
  app.get(
    '/api/v1/plans/:key/versions',
    {
      config: { permission: 'billing:plans:read' },
      schema: {
        tags,
        summary: 'List all versions of a plan, also those that take effect later',
        params: KeyParams,
        response: { 200: Type.Object({ versions: Type.Array(PlanAnswer) }, { examples: [{ versions: [example] }] }) },
      },
    },
    async (request) => {
      const versions = await deps.transact(request.caller.tenantId, (tx) => readVersions(tx, request.params.key))
      return { versions: versions.map(answer) }
    },
  )
}

function readsOfAll(app: App, deps: DoorDeps): void {
  app.get(
    '/api/v1/plans',
    {
      config: { permission: 'billing:plans:read' },
      schema: {
        tags,
        summary: 'List plans, each in the version in effect now',
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
      const plans = await deps.transact(request.caller.tenantId, (tx) => listPlans(tx, deps.now(), page))
      return { plans: plans.map(answer), next: nextOf(plans, page) }
    },
  )
}

function transactOf({ transact }: DoorDeps, { dry_run: dryRun }: Static<typeof Rehearsal>): Transact {
  return dryRun === 'true' ? undone(transact) : transact
}

function contentOf(body: Static<typeof NewContent>) {
  return {
    name: body.name,
    currency: body.currency,
    interval: body.interval,
    every: body.every,
    alignment: body.alignment,
    graceSeconds: body.grace_seconds,
    prorationBasis: body.proration_basis,
    fees: body.fees,
    charges: body.charges.map(({ key, name, meter, price, attributes = [] }) => {
      const charge = { key, name, meter: meter ?? null, price }
      return attributes.length === 0 ? charge : { ...charge, attributes }
    }),
  }
}

function answer(plan: Plan): Static<typeof PlanAnswer> {
  const charges = plan.charges.map(({ price, attributes, ...charge }) => {
    if (!Value.Check(Price, price))
      throw new Problem('internal', `Charge ${charge.key} has no price that can be shown.`)
    return { ...charge, price, ...(attributes ? { attributes: [...attributes] } : {}) }
  })
  return {
    id: plan.id,
    key: plan.key,
    version: plan.version,
    effective_from: instantTextOrNull(plan.effectiveFromMs),
    hash: plan.hash,
    name: plan.name,
    currency: plan.currency,
    interval: plan.interval,
    every: plan.every,
    alignment: plan.alignment,
    grace_seconds: plan.graceSeconds,
    proration_basis: plan.prorationBasis,
    fees: plan.fees,
    charges,
    created_at: instantText(plan.createdAtMs),
  }
}
