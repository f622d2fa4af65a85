import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { ConfigCache } from '../accept/config.ts'
import { Entitlement, HOLDER_KINDS } from '../entitlements/entitlement.ts'
import { entitlementsOf } from '../entitlements/entitlements.postgres.ts'
import { deleteEntitlement, putEntitlement } from '../entitlements/put-entitlement.ts'

const HolderKind = Type.Enum(HOLDER_KINDS, {
  description: 'Of a feature the nearest holder says what holds: subject, then customer, then plan',
})
const Holder = Type.String({
  minLength: 1,
  maxLength: 256,
  description: 'A subject, the external key of a customer, or the key of a plan',
})
const Feature = Type.String({ pattern: '^[a-z0-9][a-z0-9_-]{0,62}$', description: 'What it is called' })
const Holders = Type.Object({ holder_kind: HolderKind, holder: Holder })
const Key = Type.Object({ holder_kind: HolderKind, holder: Holder, feature: Feature })

const metered = {
  ...{ type: 'metered' as const, meter: 'conversation-minutes', limit: '1500', window: 'month' as const },
  ...{ per: 'subject' as const, enforcement: 'hard' as const, when_away: 'closed' as const },
  thresholds: ['50%', '80%', '100%'],
}
const Body = {
  ...Entitlement,
  examples: [metered, { type: 'boolean', enabled: true }, { type: 'static', value: 'eu' }],
}
const Answer = Type.Object(
  { ...Key.properties, entitlement: Entitlement },
  { examples: [{ holder_kind: 'plan', holder: 'basic', feature: 'minutes', entitlement: metered }] },
)
const ListAnswer = Type.Object(
  {
    ...Holders.properties,
    entitlements: Type.Array(Type.Object({ feature: Type.String(), entitlement: Entitlement })),
  },
  {
    examples: [{ holder_kind: 'plan', holder: 'basic', entitlements: [{ feature: 'minutes', entitlement: metered }] }],
  },
)

export type EntitlementsDoorDeps = { pool: Pool; config: ConfigCache; now: () => number }

export function entitlementsDoor(app: App, deps: EntitlementsDoorDeps): void {
  app.put(
    '/api/v1/entitlements/:holder_kind/:holder/:feature',
    {
      config: { permission: 'billing:quotas:create' },
      schema: {
        summary: 'What a subject, a customer, or everybody on a plan may use: a limit, a switch, or a value.',
        description: 'A limit of an organization and one of each user inside it are two features, and both hold.',
        params: Key,
        body: Body,
        response: { 200: Answer },
      },
    },
    async ({ caller, params, body }) => {
      const { holder_kind, holder, feature } = params
      const key = { holderKind: holder_kind, holder, feature }
      const entitlement = await putEntitlement(deps, caller.tenantId, key, body)
      deps.config.invalidate(caller.tenantId)
      return { ...params, entitlement }
    },
  )
  app.delete(
    '/api/v1/entitlements/:holder_kind/:holder/:feature',
    {
      config: { permission: 'billing:quotas:create' },
      schema: {
        summary: 'Take an entitlement away: what stands behind it holds then.',
        params: Key,
        response: { 204: Type.Null({ description: 'Taken away' }) },
      },
    },
    async ({ caller, params: { holder_kind, holder, feature } }, reply) => {
      await deleteEntitlement(deps, caller.tenantId, { holderKind: holder_kind, holder, feature })
      deps.config.invalidate(caller.tenantId)
      return reply.code(204).send(null)
    },
  )
  app.get(
    '/api/v1/entitlements/:holder_kind/:holder',
    {
      config: { permission: 'billing:quotas:read' },
      schema: {
        summary: 'The entitlements of one holder, as they were given.',
        params: Holders,
        response: { 200: ListAnswer },
      },
    },
    async ({ caller, params }) => {
      const { holder_kind, holder } = params
      const entitlements = await withTenant(deps.pool, caller.tenantId, (tx) => entitlementsOf(tx, holder_kind, holder))
      return { ...params, entitlements }
    },
  )
}
