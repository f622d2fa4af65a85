import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../../schemas/http/door.ts'
import { createKey, type RandomBytes } from '../create-key.ts'

const permissions = ['billing:usage:create', 'billing:usage:read']
const KeyRequest = Type.Object(
  { permissions: Type.Array(Type.String({ maxLength: 100 }), { minItems: 1, maxItems: 100 }) },
  { additionalProperties: false, examples: [{ permissions }] },
)
const KeyAnswer = Type.Object(
  { key: Type.String(), key_id: Type.String(), tenant: Type.String(), permissions: Type.Array(Type.String()) },
  {
    description: 'The new key. It is shown this once; only its hash is kept.',
    examples: [{ key: 'tly_<key id>_<secret>_<checksum>', key_id: '4fQ8xZ0aB1c', tenant: 'acme', permissions }],
  },
)

/** POST /api/v1/tenants/{slug}/keys */
export function keyDoor(app: App, deps: { pool: Pool; randomBytes: RandomBytes }): void {
  app.post(
    '/api/v1/tenants/:slug/keys',
    {
      config: { permission: 'billing:keys:create' },
      schema: {
        summary: 'Make an API key of a tenant, with permissions that the calling operator key has itself.',
        params: Type.Object({ slug: Type.String() }),
        body: KeyRequest,
        response: { 201: KeyAnswer },
      },
    },
    async (request, reply) => {
      const input = { tenant: request.params.slug, permissions: request.body.permissions, grantor: request.caller }
      const made = await createKey(input, deps.pool, deps.randomBytes)
      request.log.info({ event: 'api_key_created', key_id: made.keyId, tenant: made.tenant })
      reply.code(201).header('cache-control', 'no-store')
      return { key: made.key, key_id: made.keyId, tenant: made.tenant, permissions: made.permissions }
    },
  )
}
