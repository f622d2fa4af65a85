import type { Pool } from 'pg'
import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { type Backfill, noBackfill } from './backfill.ts'
import { closeOpen, findBackfill, lockBackfill, startRevert } from './backfills.postgres.ts'

export type StateDeps = { pool: Pool; now: () => number }

/** From now on the backfill takes no more events. Closing a closed one changes nothing. */
export async function closeBackfill({ pool, now }: StateDeps, caller: Caller, id: string): Promise<Backfill> {
  return withTenant(pool, caller.tenantId, async (tx) => {
    const before = await lockBackfill(tx, id)
    if (!before) throw noBackfill(id)
    if (before.state !== 'open' && before.state !== 'closed') {
      throw new Problem('illegal_state', `The backfill is ${before.state}: it cannot be closed`)
    }
    await closeOpen(tx, id, new Date(now()))
    return (await findBackfill(tx, id)) ?? before
  })
}

/**
 * From now on the backfill takes no more events, and all it has are to be voided. Who asks again after the revert has
 * ended voids what has come to light since, by the same operation: nothing is voided twice.
 */
export async function revertBackfill({ pool, now }: StateDeps, caller: Caller, id: string): Promise<Backfill> {
  return withTenant(pool, caller.tenantId, async (tx) => {
    const before = await lockBackfill(tx, id)
    if (!before) throw noBackfill(id)
    await startRevert(tx, id, new Date(now()), caller.keyId)
    return (await findBackfill(tx, id)) ?? before
  })
}
