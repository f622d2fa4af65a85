import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { findMeter, lockMeters, setArchived, userOfMeter } from './meter.postgres.ts'

/**
 * Sets a meter aside: it is not listed and answers no usage any more. Nothing that it counted is removed; the same
 * definition put again takes it back. Refused while a plan's charge or a quota limit needs it.
 */
export async function archiveMeter(
  deps: { pool: Pool; now: () => number },
  tenant: TenantId,
  slug: string,
): Promise<void> {
  await withTenant(deps.pool, tenant, async (tx) => {
    await lockMeters(tx)
    if (!(await findMeter(tx, slug))) throw new Problem('not_found', `There is no meter ${slug}`)
    const user = await userOfMeter(tx, slug)
    if (user !== undefined)
      throw new Problem('conflict', `Meter ${slug} is needed by ${user}: it can be archived when nothing names it`)
    await setArchived(tx, slug, new Date(deps.now()))
  })
}
