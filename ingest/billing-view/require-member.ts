import type { Pool } from 'pg'
import type { Logger } from 'pino'
import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { ConfigCache } from '../accept/config.ts'
import { customerOfUser } from './organization.postgres.ts'

export type MembershipDeps = { pool: Pool; config: Pick<ConfigCache, 'get'>; logger: Logger }

/**
 * Fails if a user is another organization's than the one that is named, by the external key or id of a customer. A user
 * of nobody passes whatever is named: a door for usage makes nobody anybody's, and whose the usage is becomes known when
 * the user does. While Postgres is away, what the configuration knows decides.
 */
export async function requireMember(
  { pool, config, logger }: MembershipDeps,
  { tenantId }: Caller,
  user: string,
  organization: string,
): Promise<void> {
  const isNamed = ({ id, key }: { id: string; key: string }) => id === organization || key === organization
  const { customer: known } = (await config.get(tenantId)).grantsOf(user)
  if (known && isNamed(known)) return
  // The user may have been given to a customer a moment ago, and the configuration has customers only if it needs them.
  const customer = await withTenant(pool, tenantId, (tx) => customerOfUser(tx, user)).catch((error: unknown) => {
    logger.warn({ error }, 'whose a user is was decided by what was known')
    return known
  })
  if (!customer || isNamed(customer)) return
  throw new Problem(
    'wrong_organization',
    `The user ${user} belongs to another organization than ${organization}: leave organization_id out, or correct it.`,
    { errors: [{ path: 'organization_id', message: 'is not the organization of the user' }] },
  )
}
