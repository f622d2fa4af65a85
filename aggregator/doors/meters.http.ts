import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { archiveMeter } from '../meters/archive-meter.ts'
import { findMeter, listMeters } from '../meters/meter.postgres.ts'
import { type MeterDeps, putMeter } from '../meters/put-meter.ts'
import { rebuildProgress } from '../meters/rebuild-progress.ts'
import { detailOf, MeterAnswer, MeterBody, MeterDetail, meterAnswer } from './meters-shapes.ts'

const Path = Type.Object({ slug: Type.String() })

export function metersDoor(app: App, deps: MeterDeps): void {
  readMeters(app, deps)
  app.put(
    '/api/v1/meters/:slug',
    {
      config: { permission: 'billing:meters:create' },
      schema: {
        summary:
          'Create a meter, which counts events sent before it, too; or, with effective_from, its next version. An archived one comes back.',
        params: Path,
        body: MeterBody,
        response: { 200: MeterAnswer },
      },
    },
    async (request) => meterAnswer(await putMeter(deps, request.caller.tenantId, request.params.slug, request.body)),
  )
  app.delete(
    '/api/v1/meters/:slug',
    {
      config: { permission: 'billing:meters:create' },
      schema: {
        summary: 'Archive a meter that no plan and no limit names. Putting the same definition again brings it back.',
        params: Path,
        response: { 204: Type.Null({ description: 'Archived' }) },
      },
    },
    async (request, reply) => {
      await archiveMeter(deps, request.caller.tenantId, request.params.slug)
      return reply.code(204).send(null)
    },
  )
}

function readMeters(app: App, deps: MeterDeps): void {
  app.get(
    '/api/v1/meters/:slug',
    {
      config: { permission: 'billing:meters:read', scoped: true },
      schema: {
        summary: 'A meter: its newest version, all of them if there are several, and how far it is computed.',
        params: Path,
        response: { 200: MeterDetail },
      },
    },
    async (request) => {
      const { tenantId, scope } = request.caller
      const meter = await withTenant(deps.pool, tenantId, (tx) => findMeter(tx, request.params.slug))
      if (!meter) throw new Problem('not_found', `There is no meter ${request.params.slug}`)
      // Shards tell how much the whole tenant sends.
      return detailOf(meter, scope === 'everything' ? await rebuildProgress(deps, tenantId, meter) : undefined)
    },
  )
  app.get(
    '/api/v1/meters',
    {
      config: { permission: 'billing:meters:read', scoped: true },
      schema: {
        summary: 'All meters that are not archived.',
        response: {
          200: Type.Object(
            { meters: Type.Array(MeterAnswer) },
            {
              examples: [
                {
                  meters: [
                    { slug: 'requests', event_type: 'llm.request', aggregation: 'count', group_by: [], revision: 2 },
                  ],
                },
              ],
            },
          ),
        },
      },
    },
    async (request) => ({
      meters: (await withTenant(deps.pool, request.caller.tenantId, listMeters)).map(meterAnswer),
    }),
  )
}
