import { Type } from 'typebox'
import type { App } from '../../../schemas/http/door.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import type { MeterDeps } from '../../meters/put-meter.ts'
import { createMeter } from './create-meter.ts'
import { deleteMeter } from './delete-meter.ts'
import { meterAnswer, noMeter } from './meter.ts'
import { findMeter, listMeters } from './meters.postgres.ts'

const EXAMPLE = {
  slug: 'tokens_total',
  name: 'Tokens Total',
  description: 'AI Token Usage',
  aggregation: 'SUM',
  eventType: 'prompt',
  valueProperty: '$.tokens',
  groupBy: { model: '$.model', type: '$.type' },
}
const STORED = {
  id: '01G65Z755AFWAKHE12NY0CQ9FH',
  ...EXAMPLE,
  createdAt: '2026-11-20T12:00:00.000Z',
  updatedAt: '2026-11-20T12:00:00.000Z',
}
const Aggregation = Type.Union([
  Type.Literal('SUM'),
  Type.Literal('COUNT'),
  Type.Literal('UNIQUE_COUNT'),
  Type.Literal('AVG'),
  Type.Literal('MIN'),
  Type.Literal('MAX'),
  Type.Literal('LATEST'),
])
const Text = (maxLength: number) => Type.String({ minLength: 1, maxLength })
const MeterBody = Type.Object(
  {
    slug: Type.String({ pattern: '^[a-z0-9]+(_[a-z0-9]+)*$', maxLength: 60 }),
    name: Type.Optional(Text(256)),
    description: Type.Optional(Type.String({ maxLength: 1024 })),
    metadata: Type.Optional(Type.Union([Type.Record(Type.String(), Type.String()), Type.Null()])),
    eventType: Text(128),
    aggregation: Aggregation,
    valueProperty: Type.Optional(Text(512)),
    groupBy: Type.Optional(Type.Record(Type.String(), Text(512))),
  },
  { additionalProperties: false, examples: [EXAMPLE] },
)
const MeterAnswer = Type.Object(
  {
    id: Type.String(),
    ...{ slug: Type.String(), name: Type.String(), description: Type.Optional(Type.String()) },
    metadata: Type.Optional(Type.Record(Type.String(), Type.String())),
    ...{ aggregation: Aggregation, eventType: Type.String(), valueProperty: Type.Optional(Type.String()) },
    groupBy: Type.Optional(Type.Record(Type.String(), Type.String())),
    ...{ createdAt: Type.String(), updatedAt: Type.String() },
  },
  { examples: [STORED] },
)
const Path = Type.Object({ idOrSlug: Type.String({ maxLength: 64 }) })
const Pages = Type.Object(
  {
    page: Type.Optional(Type.Integer({ minimum: 1 })),
    pageSize: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000 })),
  },
  { additionalProperties: false },
)
const BASE = '/openmeter/api/v1/meters'

export function openmeterMetersDoor(app: App, deps: MeterDeps): void {
  app.post(
    BASE,
    {
      config: { permission: 'billing:meters:create' },
      schema: {
        summary: 'Create a meter as OpenMeter does. eventFrom is not supported.',
        body: MeterBody,
        response: { 201: MeterAnswer },
      },
    },
    async ({ caller, body }, reply) =>
      reply.code(201).send(meterAnswer(await createMeter(deps, caller.tenantId, body))),
  )
  app.get(
    BASE,
    {
      config: { permission: 'billing:meters:read', scoped: true },
      schema: {
        summary: 'The meters that were created through this door, oldest first.',
        querystring: Pages,
        response: { 200: Type.Array(MeterAnswer, { examples: [[STORED]] }) },
      },
    },
    async ({ caller, query: { page = 1, pageSize = 100 } }) => {
      const meters = await withTenant(deps.pool, caller.tenantId, listMeters)
      return meters.slice((page - 1) * pageSize, page * pageSize).map(meterAnswer)
    },
  )
  oneMeter(app, deps)
}

function oneMeter(app: App, deps: MeterDeps): void {
  app.get(
    `${BASE}/:idOrSlug`,
    {
      config: { permission: 'billing:meters:read', scoped: true },
      schema: { summary: 'A meter, by id or slug.', params: Path, response: { 200: MeterAnswer } },
    },
    async ({ caller, params: { idOrSlug } }) => {
      const meter = await withTenant(deps.pool, caller.tenantId, (tx) => findMeter(tx, idOrSlug))
      if (!meter) throw noMeter(idOrSlug)
      return meterAnswer(meter)
    },
  )
  app.delete(
    `${BASE}/:idOrSlug`,
    {
      config: { permission: 'billing:meters:create' },
      schema: {
        summary: 'Delete a meter. Ours is archived, unless a plan or a quota limit needs it.',
        params: Path,
        response: { 204: Type.Null({ description: 'Deleted' }) },
      },
    },
    async ({ caller, params: { idOrSlug } }, reply) => {
      await deleteMeter(deps, caller.tenantId, idOrSlug)
      return reply.code(204).send(null)
    },
  )
}
