import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { QuantityText } from '../../schemas/quantity.ts'
import type { ConfigCache } from '../accept/config.ts'
import { deleteLimit, putLimit } from '../quota/put-limit.ts'

const Window = Type.Union([Type.Literal('day'), Type.Literal('month')])
const LimitBody = Type.Object(
  { limit: QuantityText, window: Window },
  { additionalProperties: false, examples: [{ limit: '1000', window: 'month' }] },
)
const LimitAnswer = Type.Object(
  { subject: Type.String(), meter: Type.String(), limit: Type.String(), window: Window },
  { examples: [{ subject: 'customer-1', meter: 'context_tokens', limit: '1000', window: 'month' }] },
)

const Params = Type.Object({ subject: Type.String({ minLength: 1, maxLength: 256 }), meter: Type.String() })

export type QuotaDoorDeps = { pool: Pool; config: ConfigCache; now: () => number }

export function quotaDoor(app: App, deps: QuotaDoorDeps): void {
  app.put(
    '/api/v1/quota/:subject/:meter',
    {
      config: { permission: 'billing:quotas:create' },
      schema: {
        summary: 'Limit a subject on a meter per day or month (UTC). Usage of the window so far counts.',
        params: Params,
        body: LimitBody,
        response: { 200: LimitAnswer },
      },
    },
    async (request) => {
      const { tenantId } = request.caller
      const stored = await putLimit(deps, tenantId, { ...request.params, ...request.body })
      deps.config.invalidate(tenantId)
      return stored
    },
  )
  app.delete(
    '/api/v1/quota/:subject/:meter',
    {
      config: { permission: 'billing:quotas:create' },
      schema: {
        summary: 'Take a limit of a subject away.',
        params: Params,
        response: { 204: Type.Null({ description: 'Taken away' }) },
      },
    },
    async ({ caller, params }, reply) => {
      await deleteLimit(deps.pool, caller.tenantId, params.subject, params.meter)
      deps.config.invalidate(caller.tenantId)
      return reply.code(204).send(null)
    },
  )
}
