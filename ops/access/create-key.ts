import type { Pool } from 'pg'
import {
  isPermission,
  OPERATOR_PERMISSIONS,
  PERMISSIONS,
  type Permission,
  SCOPED_PERMISSIONS,
} from '../../schemas/http/permissions.ts'
import { Problem } from '../../schemas/http/problem.ts'
import type { Scope } from '../../schemas/http/scope.ts'
import { generateKey } from './key.ts'
import { insertApiKey } from './keys.postgres.ts'
import { type Grantor, putTenant, requireOperator } from './put-tenant.ts'
import { readScope, type ScopeInput } from './scope.ts'
import { findTenant } from './tenants.postgres.ts'

export type RandomBytes = (size: number) => Uint8Array
export type CreatedKey = { key: string; keyId: string; tenant: string; permissions: Permission[]; scope: Scope }

/** Where the operator's own key lives. */
const DEFAULT_TENANT = 'default'

/** Makes a key of one tenant with part of what the grantor may do; without a scope it sees everything in the tenant. */
export async function createKey(
  input: { tenant: string; permissions: readonly string[]; grantor: Grantor; scope?: ScopeInput | undefined },
  pool: Pool,
  randomBytes: RandomBytes,
): Promise<CreatedKey> {
  requireOperator(input.grantor)
  const permissions = checkPermissions(input.permissions)
  requireGrantable(permissions, input.grantor)
  if (input.scope !== undefined) requireScopable(permissions)
  const tenantId = await findTenant(pool, input.tenant)
  if (tenantId === undefined)
    throw new Problem('not_found', `There is no tenant '${input.tenant}'. Make it with PUT /api/v1/tenants/{slug}.`)
  const scope = await readScope(pool, tenantId, input.scope)
  const { key, publicId, sha256 } = generateKey(randomBytes)
  await insertApiKey(pool, { tenantId, publicId, sha256, operator: false, permissions, scope })
  return { key, keyId: publicId, tenant: input.tenant, permissions, scope }
}

/**
 * Makes an operator key in the tenant `default`, with every permission unless some are named. For the command line
 * only: no door leads here.
 */
export async function createOperatorKey(
  pool: Pool,
  randomBytes: RandomBytes,
  wanted: readonly string[] = PERMISSIONS,
): Promise<CreatedKey> {
  const permissions = checkPermissions(wanted)
  const { tenantId } = await putTenant({ slug: DEFAULT_TENANT, grantor: 'owner' }, pool)
  const { key, publicId, sha256 } = generateKey(randomBytes)
  const scope = 'everything'
  await insertApiKey(pool, { tenantId, publicId, sha256, operator: true, permissions, scope })
  return { key, keyId: publicId, tenant: DEFAULT_TENANT, permissions, scope }
}

function checkPermissions(wanted: readonly string[]): Permission[] {
  if (wanted.length === 0)
    throw invalid('A key needs at least one permission.', [{ path: 'permissions', message: 'must not be empty' }])
  const unknown = wanted.flatMap((text, index) =>
    isPermission(text) ? [] : [{ path: `permissions.${index}`, message: `unknown permission '${text.slice(0, 80)}'` }],
  )
  const first = unknown[0]
  if (first) throw invalid(`The request names an ${first.message}.`, unknown.slice(0, 8))
  return PERMISSIONS.filter((permission) => wanted.includes(permission))
}

function requireGrantable(permissions: Permission[], grantor: Grantor): void {
  const beyond = permissions.find((permission) => OPERATOR_PERMISSIONS.includes(permission))
  if (beyond) {
    const message = `'${beyond}' reaches beyond one tenant: only operator keys hold it`
    throw invalid(`A tenant key cannot hold the permission ${message}.`, [{ path: 'permissions', message }])
  }
  if (grantor === 'owner') return
  const lacking = permissions.find((permission) => !grantor.permissions.has(permission))
  if (lacking) throw new Problem('forbidden', `This key lacks '${lacking}' and so cannot grant it.`)
}

/** A key with a scope reads usage and nothing else: it sends, changes and grants nothing. */
function requireScopable(permissions: Permission[]): void {
  const beyond = permissions.find((permission) => !SCOPED_PERMISSIONS.includes(permission))
  if (beyond === undefined) return
  const message = `a key with a scope cannot hold '${beyond}', only ${SCOPED_PERMISSIONS.join(' and ')}`
  throw invalid(`The request is not valid: ${message}.`, [{ path: 'permissions', message }])
}

function invalid(detail: string, errors: { path: string; message: string }[]): Problem {
  return new Problem('invalid_request', detail, { errors })
}
