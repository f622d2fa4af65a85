import { Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { createPlan } from '../../../agreements/plans/create-plan.ts'
import { createVersion } from '../../../agreements/plans/create-version.ts'
import { listNew } from '../../../agreements/plans/listing.ts'
import { listPlans } from '../../../agreements/plans/plans.postgres.ts'
import { readPlan, readVersions } from '../../../agreements/plans/read-plan.ts'
import { readProduct } from '../../../agreements/products/create-product.ts'
import { checkPlanPrice } from '../../../billing/rating/price-shape.ts'
import {
  type DoorDeps,
  instantMs,
  Key,
  listOf,
  nextOf,
  pageMembers,
  pageOf,
  Rehearsal,
  strict,
  transactOf,
} from '../shapes.ts'
import { allShown, contentOf, KeyParams, NewPlan, NewVersion, PlanAnswer, planExample, shown } from './plan-shapes.ts'

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
      const { key, product } = request.body
      const input = { key, ...contentOf(request.body) }
      const { plan, created } = await transactOf(deps, request.query)(request.caller.tenantId, async (tx) => {
        const { plan, created } = await createPlan(tx, input, checkPlanPrice, deps)
        if (product !== undefined) await listNew(tx, key, product, created, deps)
        return { plan: await shown(tx, plan), created }
      })
      return reply.code(created ? 201 : 200).send(plan)
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
      const { plan, created } = await transactOf(deps, request.query)(request.caller.tenantId, async (tx) => {
        const { plan, created } = await createVersion(tx, input, checkPlanPrice, deps)
        return { plan: await shown(tx, plan), created }
      })
      return reply.code(created ? 201 : 200).send(plan)
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
      return deps.transact(request.caller.tenantId, async (tx) =>
        shown(tx, await readPlan(tx, request.params.key, wanted)),
      )
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
        response: {
          200: Type.Object({ versions: Type.Array(PlanAnswer) }, { examples: [{ versions: [planExample] }] }),
        },
      },
    },
    async (request) => {
      const { params, caller } = request
      const versions = await deps.transact(caller.tenantId, async (tx) =>
        allShown(tx, await readVersions(tx, params.key)),
      )
      return { versions }
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
        querystring: Type.Object(
          {
            product: Type.Optional(Type.String({ ...Key, description: 'Those of a product, by its id or key.' })),
            ...pageMembers,
          },
          strict,
        ),
        response: { 200: listOf('plans', PlanAnswer, planExample) },
      },
    },
    async (request) => {
      const page = pageOf(request.query)
      const { product } = request.query
      const plans = await deps.transact(request.caller.tenantId, async (tx) => {
        const productId = product === undefined ? null : (await readProduct(tx, product)).id
        return allShown(tx, await listPlans(tx, deps.now(), page, productId))
      })
      return { plans, next: nextOf(plans, page) }
    },
  )
}
