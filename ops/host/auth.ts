import type { FastifyReply, FastifyRequest, RouteOptions } from 'fastify'
import type { App, Caller } from '../../schemas/http/door.ts'
import { isPermission, OPERATOR_PERMISSIONS, type Permission } from '../../schemas/http/permissions.ts'
import { Problem } from '../../schemas/http/problem.ts'

export type Authenticate = (authorizationHeader: string | undefined) => Promise<Caller | undefined>

/**
 * Every route must name its permission, or 'public': one without fails the start. The key is checked before a byte of
 * the body is read.
 */
export function requirePermissions(app: App, authenticate: Authenticate): void {
  app.decorateRequest('caller')
  app.addHook('onRoute', (route) => {
    permissionOf(route)
  })
  app.addHook('onRequest', async (request: FastifyRequest, _reply: FastifyReply) => {
    const { permission, scoped } = request.routeOptions.config
    if (permission === 'public' || request.is404) return
    request.caller = await authorized(authenticate, request.headers.authorization, permission, scoped === true)
  })
}

/** The permission a route names. */
export function permissionOf(route: Pick<RouteOptions, 'method' | 'url' | 'config'>): Permission | 'public' {
  const permission = route.config?.permission
  if (permission === 'public' || (permission !== undefined && isPermission(permission))) return permission
  throw new Error(`Route ${String(route.method)} ${route.url} names no known permission in config.permission`)
}

async function authorized(
  authenticate: Authenticate,
  header: string | undefined,
  permission: Permission | undefined,
  knowsScopes: boolean,
): Promise<Caller> {
  const caller = await authenticate(header)
  if (!caller) throw new Problem('unauthenticated', 'Send a valid key as Authorization: Bearer tly_…')
  // Whatever its permissions: a route that does not say that it knows of scopes would answer with everything.
  if (!knowsScopes && caller.scope !== 'everything')
    throw new Problem('out_of_scope', 'This answers or changes more than a key with a scope may see.')
  if (!permission || !caller.permissions.has(permission))
    throw new Problem('forbidden', `This needs the permission '${permission}', which the key lacks.`)
  if (!caller.operator && OPERATOR_PERMISSIONS.includes(permission))
    throw new Problem('forbidden', `'${permission}' works with operator keys only; this key belongs to one tenant.`)
  return caller
}
