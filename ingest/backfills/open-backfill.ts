import type { Pool } from 'pg'
import { v7 as newId } from 'uuid'
import type { TenantId } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { BACKFILL_SOURCE_PREFIX, type Backfill } from './backfill.ts'
import { findBackfillBySource, insertBackfill } from './backfills.postgres.ts'

/** Bytes, as of every event's source. */
const LONGEST_SOURCE = 256

/**
 * Opens a backfill that owns a source. Asked again with the same name and source it answers the same backfill, whatever
 * its state: whoever lost the answer asks again.
 */
export async function openBackfill(
  { pool, now }: { pool: Pool; now: () => number },
  tenant: TenantId,
  { name, source }: { name: string; source: string },
): Promise<{ backfill: Backfill; opened: boolean }> {
  const message = wrongSource(source)
  if (message) {
    throw new Problem('invalid_request', `The source ${message}.`, { errors: [{ path: 'source', message }] })
  }
  return withTenant(pool, tenant, async (tx) => {
    const opened = await insertBackfill(tx, { id: newId(), name, source, openedAt: new Date(now()) })
    const backfill = await findBackfillBySource(tx, source)
    if (!backfill) throw new Error(`The backfill of ${source} is not there after it was opened`)
    if (backfill.name !== name) {
      throw new Problem('conflict', `The source ${source} belongs to the backfill ${backfill.name}: choose another`)
    }
    return { backfill, opened }
  })
}

function wrongSource(source: string): string | undefined {
  if (!source.startsWith(BACKFILL_SOURCE_PREFIX) || source.length === BACKFILL_SOURCE_PREFIX.length)
    return `must be ${BACKFILL_SOURCE_PREFIX} and a name of your own`
  return Buffer.byteLength(source) > LONGEST_SOURCE ? `must be at most ${LONGEST_SOURCE} bytes of UTF-8` : undefined
}
