import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { withTenant } from '../../../schemas/postgres/tenant.postgres.ts'
import { archiveMeter } from '../../meters/archive-meter.ts'
import type { MeterDeps } from '../../meters/put-meter.ts'
import { noMeter } from './meter.ts'
import { findMeter, markDeleted } from './meters.postgres.ts'

/**
 * Hides a meter there, then archives ours, so that it refuses no events any more. Ours goes on if a plan or a quota limit
 * needs it, and after a crash in between: that only counts what nobody asks for.
 */
export async function deleteMeter(deps: MeterDeps, tenant: TenantId, idOrSlug: string): Promise<void> {
  const meter = await withTenant(deps.pool, tenant, async (tx) => {
    const found = await findMeter(tx, idOrSlug)
    if (!found) throw noMeter(idOrSlug)
    await markDeleted(tx, found.id, new Date(deps.now()))
    return found
  })
  await archiveMeter(deps, tenant, meter.meter).catch((error: unknown) => {
    if (!(error instanceof Problem && (error.code === 'conflict' || error.code === 'not_found'))) throw error
  })
}
