import type { Pool } from 'pg'
import type { Logger } from 'pino'
import type { TenantId } from '../../schemas/http/door.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { BillingCache } from '../billing-cache/billing-cache.ts'
import { organizationOfUser } from './organization.postgres.ts'
import { type Organization, readKeptOrganization, readKeptUser } from './organization.ts'

export type FindOrganizationDeps = { pool: Pool; billingCache: BillingCache; logger: Logger; now: () => number }
/** `readAtMs`: it is not from Postgres, which is away, but what was read there then. */
export type FoundOrganization = { organization?: Organization | undefined; readAtMs?: number }

/** The organization of a user, if it has one. What Postgres says is kept for when Postgres is away. */
export async function findOrganization(
  deps: FindOrganizationDeps,
  tenant: TenantId,
  user: string,
): Promise<FoundOrganization> {
  const readAtMs = deps.now()
  try {
    const organization = await withTenant(deps.pool, tenant, (tx) => organizationOfUser(tx, user, new Date(readAtMs)))
    // Nobody waits for it: a cache that is away holds no answer up.
    void keep(deps, tenant, user, organization, readAtMs)
    return { organization }
  } catch (error) {
    const kept = await findKept(deps.billingCache, tenant, user).catch(() => undefined)
    if (!kept) throw error
    deps.logger.warn({ error }, 'a subscription is told as it was last read')
    return kept
  }
}

const userName = (user: string) => `user:${user}`

/** The organization before the user that points to it. */
async function keep(
  { billingCache, logger }: FindOrganizationDeps,
  tenant: TenantId,
  user: string,
  organization: Organization | undefined,
  readAtMs: number,
): Promise<void> {
  try {
    if (organization) await billingCache.put(tenant, organization.id, JSON.stringify({ organization, readAtMs }))
    const ofUser = { organization: organization?.id ?? null, readAtMs }
    await billingCache.put(tenant, userName(user), JSON.stringify(ofUser))
  } catch (error) {
    logger.warn({ error }, 'a subscription is not kept for when Postgres is away')
  }
}

async function findKept(cache: BillingCache, tenant: TenantId, user: string): Promise<FoundOrganization | undefined> {
  const ofUser = readKeptUser(await cache.get(tenant, userName(user)))
  if (!ofUser) return undefined
  if (ofUser.organization === null) return { readAtMs: ofUser.readAtMs }
  const kept = readKeptOrganization(await cache.get(tenant, ofUser.organization))
  return kept && { organization: kept.organization, readAtMs: Math.min(ofUser.readAtMs, kept.readAtMs) }
}
