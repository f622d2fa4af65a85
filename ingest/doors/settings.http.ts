import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { ConfigCache } from '../accept/config.ts'
import { readSettings, storeSettings } from '../settings/settings.postgres.ts'

const Settings = Type.Object(
  {
    openmeter_open_types: Type.Boolean({
      description:
        'POST /openmeter/api/v1/events takes event types that nobody registered, with any JSON object as data',
    }),
  },
  { additionalProperties: false, examples: [{ openmeter_open_types: true }] },
)

export type SettingsDoorDeps = { pool: Pool; config: ConfigCache; now: () => number }

export function settingsDoor(app: App, deps: SettingsDoorDeps): void {
  app.get(
    '/api/v1/settings',
    {
      config: { permission: 'billing:event-types:read' },
      schema: { summary: 'The tenant’s settings.', response: { 200: Settings } },
    },
    async (request) => withTenant(deps.pool, request.caller.tenantId, readSettings),
  )
  app.put(
    '/api/v1/settings',
    {
      config: { permission: 'billing:event-types:create' },
      schema: { summary: 'Change the tenant’s settings.', body: Settings, response: { 200: Settings } },
    },
    async ({ caller, body }) => {
      await withTenant(deps.pool, caller.tenantId, (tx) => storeSettings(tx, body, new Date(deps.now())))
      deps.config.invalidate(caller.tenantId)
      return body
    },
  )
}
