import type { Pool } from 'pg'
import type { Caller, TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { insertTenant } from './tenants.postgres.ts'

const SLUG = /^[a-z0-9][a-z0-9-]{0,62}$/

/** Who asks: the caller of a request, or the owner at the command line, who may do everything. */
export type Grantor = Caller | 'owner'

/** Makes a tenant; an existing slug answers its tenant. */
export async function putTenant(
  input: { slug: string; grantor: Grantor },
  pool: Pool,
): Promise<{ slug: string; tenantId: TenantId }> {
  requireOperator(input.grantor)
  if (!SLUG.test(input.slug)) {
    const message = 'must be 1 to 63 lower-case letters, digits and hyphens, and not begin with a hyphen'
    throw new Problem('invalid_request', `The tenant's slug ${message}.`, { errors: [{ path: 'slug', message }] })
  }
  return { slug: input.slug, tenantId: await insertTenant(pool, input.slug) }
}

/** Tenants and keys are handled by operator keys only, whatever permissions another key carries. */
export function requireOperator(grantor: Grantor): void {
  if (grantor !== 'owner' && (!grantor.operator || grantor.scope !== 'everything'))
    throw new Problem('forbidden', 'Only an operator key may do this; this key belongs to one tenant.')
}
