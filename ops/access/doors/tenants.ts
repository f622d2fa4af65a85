import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../../schemas/http/door.ts'
import { putTenant } from '../put-tenant.ts'

const Nothing = Type.Union([Type.Null(), Type.Object({}, { additionalProperties: false })], { examples: [{}] })
const Tenant = Type.Object({ slug: Type.String() }, { examples: [{ slug: 'acme' }], description: 'The tenant exists' })

/** PUT /api/v1/tenants/{slug} */
export function tenantDoor(app: App, deps: { pool: Pool }): void {
  app.put(
    '/api/v1/tenants/:slug',
    {
      config: { permission: 'billing:tenants:create' },
      schema: {
        summary: 'Make a tenant; one that exists already stays as it is. Operator keys only.',
        params: Type.Object({ slug: Type.String() }),
        body: Nothing,
        response: { 200: Tenant },
      },
    },
    async (request) => {
      const { slug } = await putTenant({ slug: request.params.slug, grantor: request.caller }, deps.pool)
      return { slug }
    },
  )
}
