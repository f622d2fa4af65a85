import { pino } from 'pino'
import { Registry } from 'prom-client'
import { Type } from 'typebox'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { buildHost } from '../../../ops/host/server.ts'
import type { App, Caller } from '../../../schemas/http/door.ts'
import { PERMISSIONS } from '../../../schemas/http/permissions.ts'

/** HC-8: a route that forgets scopes must not leak. */
const key = { tenantId: 1, tenantSlug: 't', keyId: 'k', operator: true, permissions: new Set(PERMISSIONS) }
const callers: Record<string, Caller> = {
  'Bearer all': { ...key, scope: 'everything' },
  'Bearer user': { ...key, scope: { subjects: ['u-1'] } },
  'Bearer organization': { ...key, scope: { customer: '01890a5d-ac96-774b-bcce-b302099a8057' } },
  // As a caller that somebody built without thinking of scopes.
  'Bearer forgotten': { ...key } as unknown as Caller,
  'Bearer weak': { ...key, permissions: new Set(), scope: { subjects: ['u-1'] } },
}
let app: App
beforeAll(async () => {
  const authenticate = async (header: string | undefined) => callers[header ?? '']
  app = await buildHost({ logger: pino({ level: 'silent' }), metrics: new Registry(), authenticate, version: '0' })
  const response = { 200: Type.Object({ ok: Type.Boolean() }) }
  for (const method of ['GET', 'POST', 'PUT', 'DELETE'] as const) {
    const schema = { response }
    app.route({ method, url: '/forgets', config: { permission: 'billing:usage:read' }, schema, handler: ok })
    app.route({
      method,
      url: '/knows',
      config: { permission: 'billing:usage:read', scoped: true },
      schema,
      handler: ok,
    })
  }
  await app.ready()
})
afterAll(() => app.close())
const ok = async () => ({ ok: true })
const ask = async (method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'DELETE', url: string, name: string) => {
  const answer = await app.inject({ method, url, headers: { authorization: `Bearer ${name}` } })
  return [answer.statusCode, answer.body === '' ? undefined : answer.json<{ code?: string }>().code]
}

test('a key with a scope is refused on every route that does not say that it knows of scopes', async () => {
  for (const name of ['user', 'organization', 'forgotten']) {
    for (const method of ['GET', 'POST', 'PUT', 'DELETE'] as const) {
      expect([name, method, ...(await ask(method, '/forgets', name))]).toEqual([name, method, 403, 'out_of_scope'])
      expect([name, method, ...(await ask(method, '/knows', name))]).toEqual([name, method, 200, undefined])
    }
    expect((await ask('HEAD', '/forgets', name))[0]).toBe(403)
    expect((await ask('HEAD', '/knows', name))[0]).toBe(200)
  }
})

test('a key without a scope is served as before, and a permission is needed all the same', async () => {
  expect(await ask('GET', '/forgets', 'all')).toEqual([200, undefined])
  expect(await ask('GET', '/knows', 'all')).toEqual([200, undefined])
  expect(await ask('GET', '/knows', 'weak')).toEqual([403, 'forbidden'])
})
