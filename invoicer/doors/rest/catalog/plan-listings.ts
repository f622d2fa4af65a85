import { Type } from 'typebox'
import type { App } from '../../../../schemas/http/door.ts'
import { changeListing } from '../../../agreements/plans/listing.ts'
import { readPlan } from '../../../agreements/plans/read-plan.ts'
import { type DoorDeps, Key, Nullable, Rehearsal, strict, transactOf } from '../shapes.ts'
import { KeyParams, PlanAnswer, shown } from './plan-shapes.ts'

const ChangedListing = Type.Object(
  {
    product: Type.Optional(
      Nullable(Type.String({ ...Key, description: 'The product that it is of, by id or key; null: of none.' })),
    ),
    archived: Type.Optional(
      Type.Boolean({
        description:
          'true: no subscription begins with it or moves to it, and those that have it go on, also onto its newer ' +
          'versions. false takes that back.',
      }),
    ),
  },
  { ...strict, examples: [{ product: 'pro' }, { archived: true }] },
)

/** Where a plan stands in the catalogue: that changes, its versions never do. */
export function planListingsDoor(app: App, deps: DoorDeps): void {
  app.patch(
    '/api/v1/plans/:key',
    {
      config: { permission: 'billing:plans:create' },
      schema: {
        tags: ['plans'],
        summary: 'Archive a plan, take it up again, or say of which product it is; no version of it changes',
        params: KeyParams,
        querystring: Rehearsal,
        body: ChangedListing,
        response: { 200: PlanAnswer },
      },
    },
    async ({ caller, params, body, query }) =>
      transactOf(deps, query)(caller.tenantId, async (tx) => {
        await changeListing(tx, params.key, body, deps)
        return shown(tx, await readPlan(tx, params.key, { atMs: deps.now() }))
      }),
  )
}
