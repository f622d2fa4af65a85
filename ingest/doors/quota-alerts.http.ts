import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { readAlerts } from '../quota/thresholds/read-alerts.ts'
import { Meter, Nullable, Subject } from './quota.shapes.ts'

const Instant = Type.String({ format: 'date-time' })
const Id = Type.String({ format: 'uuid' })
const DEFAULT_LIMIT = 100

const AlertsQuery = Type.Object(
  {
    subject: Type.Optional(Subject),
    meter: Type.Optional(Meter),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 999 })),
    cursor: Type.Optional(Type.String({ format: 'uuid', description: 'The `next` of the page before' })),
  },
  { additionalProperties: false },
)

const example = {
  ...{ id: '0198f4e2-7c3e-7b1a-9d55-0d3a6a6f1c11', feature: 'context_tokens', meter: 'context_tokens' },
  ...{ subject: 'customer-1', customer: null, level: '80%', limit: '1000', used: '812', window: 'month' as const },
  ...{ starts_at: '2026-11-01T00:00:00.000Z', resets_at: '2026-12-01T00:00:00.000Z' },
  fired_at: '2026-11-20T12:00:00.000Z',
}
const Alert = Type.Object({
  id: Id,
  feature: Type.String({ description: 'The entitlement that the limit is of' }),
  meter: Type.String(),
  subject: Nullable(Type.String({ description: 'null: subjects of a customer share the limit' })),
  customer: Nullable(Type.String({ description: 'External key of the customer whose subjects share the limit' })),
  level: Type.String({ description: 'A share of the limit, or a quantity' }),
  limit: Type.String({ description: 'When the level was seen to be reached, as is used' }),
  used: Type.String({ description: 'What is held by reservations and leases is in it' }),
  window: Type.String(),
  starts_at: Instant,
  resets_at: Instant,
  fired_at: Instant,
})
const AlertsAnswer = Type.Object(
  { alerts: Type.Array(Alert), next: Nullable(Id) },
  { examples: [{ alerts: [example], next: null }] },
)

/** Levels of quotas that were reached, each once in a window. */
export function quotaAlertsDoor(app: App, { pool }: { pool: Pool }): void {
  app.get(
    '/api/v1/quota-alerts',
    {
      config: { permission: 'billing:quotas:read', scoped: true },
      schema: {
        summary: 'Levels of quotas that were reached, the newest first.',
        description: 'By subject: of limits that are the subject’s alone. Webhooks tell of each as it is reached.',
        querystring: AlertsQuery,
        response: { 200: AlertsAnswer },
      },
    },
    async ({ caller, query: { subject, meter, limit = DEFAULT_LIMIT, cursor } }) => {
      const alerts = await readAlerts(pool, caller, { subject, meter, before: cursor, limit })
      return { alerts, next: alerts.length < limit ? null : (alerts.at(-1)?.id ?? null) }
    },
  )
}
