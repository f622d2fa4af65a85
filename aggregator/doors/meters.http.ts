import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { findMeter, listMeters } from '../meters/meter.postgres.ts'
import type { Meter } from '../meters/meter.ts'
import { type MeterDeps, putMeter } from '../meters/put-meter.ts'

const Aggregation = Type.Union([Type.Literal('sum'), Type.Literal('count')])
const MeterBody = Type.Object(
  {
    event_type: Type.String({ minLength: 1, maxLength: 128 }),
    aggregation: Aggregation,
    value: Type.Optional(
      Type.String({ maxLength: 512, description: 'Dotted path inside data; a leading $. is allowed' }),
    ),
    group_by: Type.Optional(Type.Array(Type.String({ maxLength: 512 }), { maxItems: 5 })),
  },
  {
    additionalProperties: false,
    examples: [{ event_type: 'llm.request', aggregation: 'sum', value: '$.context_tokens', group_by: ['model'] }],
  },
)
const MeterAnswer = Type.Object(
  {
    slug: Type.String(),
    event_type: Type.String(),
    aggregation: Aggregation,
    value: Type.Optional(Type.String()),
    group_by: Type.Array(Type.String()),
    revision: Type.Integer(),
  },
  {
    examples: [
      {
        slug: 'context_tokens',
        event_type: 'llm.request',
        aggregation: 'sum',
        value: 'context_tokens',
        group_by: ['model'],
        revision: 1,
      },
    ],
  },
)
const Path = Type.Object({ slug: Type.String() })

export function metersDoor(app: App, deps: MeterDeps): void {
  app.put(
    '/api/v1/meters/:slug',
    {
      config: { permission: 'billing:meters:create' },
      schema: {
        summary: 'Create a meter. It counts events sent before it, too.',
        params: Path,
        body: MeterBody,
        response: { 200: MeterAnswer },
      },
    },
    async (request) => answerOf(await putMeter(deps, request.caller.tenantId, request.params.slug, request.body)),
  )
  app.get(
    '/api/v1/meters/:slug',
    {
      config: { permission: 'billing:meters:read' },
      schema: { summary: 'A meter.', params: Path, response: { 200: MeterAnswer } },
    },
    async (request) => {
      const meter = await withTenant(deps.pool, request.caller.tenantId, (tx) => findMeter(tx, request.params.slug))
      if (!meter) throw new Problem('not_found', `There is no meter ${request.params.slug}`)
      return answerOf(meter)
    },
  )
  app.get(
    '/api/v1/meters',
    {
      config: { permission: 'billing:meters:read' },
      schema: {
        summary: 'All meters.',
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
    async (request) => ({ meters: (await withTenant(deps.pool, request.caller.tenantId, listMeters)).map(answerOf) }),
  )
}

function answerOf(meter: Meter) {
  return {
    slug: meter.slug,
    event_type: meter.eventType,
    aggregation: meter.aggregation,
    ...(meter.valuePath.length > 0 ? { value: meter.valuePath.join('.') } : {}),
    group_by: meter.groupBy.map((group) => group.name),
    revision: meter.revision,
  }
}
