import type { Pool } from 'pg'
import { Type } from 'typebox'
import type { App } from '../../../schemas/http/door.ts'
import type { Scope as KeyScope } from '../../../schemas/http/scope.ts'
import { createKey, type RandomBytes } from '../create-key.ts'

const permissions = ['billing:usage:create', 'billing:usage:read']
const Scope = Type.Object(
  {
    customer: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'External key or id' })),
    subjects: Type.Optional(
      Type.Array(Type.String({ minLength: 1, maxLength: 256 }), { minItems: 1, maxItems: 100, uniqueItems: true }),
    ),
  },
  {
    additionalProperties: false,
    description:
      'Either of the two. The key then reads usage and events of these subjects, or of all subjects of the customer, ' +
      'and nothing else; it may hold permissions to read usage and meters only. Without a scope a key sees all.',
  },
)
const scoped = { permissions: ['billing:usage:read'], scope: { customer: 'customer-0' } }
const KeyRequest = Type.Object(
  {
    permissions: Type.Array(Type.String({ maxLength: 100 }), { minItems: 1, maxItems: 100 }),
    scope: Type.Optional(Scope),
  },
  { additionalProperties: false, examples: [{ permissions }, scoped] },
)
const KeyAnswer = Type.Object(
  {
    ...{ key: Type.String(), key_id: Type.String(), tenant: Type.String(), permissions: Type.Array(Type.String()) },
    scope: Type.Optional({ ...Scope, description: 'If the key has one; a customer by its id' }),
  },
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
      const { permissions, scope } = request.body
      const input = { tenant: request.params.slug, permissions, scope, grantor: request.caller }
      const made = await createKey(input, deps.pool, deps.randomBytes)
      request.log.info({ event: 'api_key_created', key_id: made.keyId, tenant: made.tenant })
      reply.code(201).header('cache-control', 'no-store')
      const { key, keyId, tenant } = made
      return { key, key_id: keyId, tenant, permissions: made.permissions, ...scopeAnswer(made.scope) }
    },
  )
}

function scopeAnswer(scope: KeyScope): { scope?: { customer?: string; subjects?: string[] } } {
  if (scope === 'everything') return {}
  return { scope: 'customer' in scope ? scope : { subjects: [...scope.subjects] } }
}
