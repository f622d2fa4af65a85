import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Means } from '../../transaction.ts'
import { lockRun } from '../review/places.postgres.ts'
import { storeRun } from './open-run.ts'
import { countStillParked, findLatestRetry } from './retries.postgres.ts'

/**
 * The run that tries again what a completed run has parked, with its `as_of` and its W, and bills nobody else: the latest
 * one, while that goes on or has left nothing; else a new one.
 * @throws Problem not_found; illegal_state for a run that is not completed, a dry run, and one without anything to try.
 */
export async function retryParked(tx: TenantTransaction, id: string, means: Means): Promise<{ runId: string }> {
  const { state, dryRun, asOfMs, knownBeforeMs } = await lockRun(tx, idOrNull(id))
  if (dryRun) throw new Problem('illegal_state', 'A dry run parks nothing: start a run.')
  if (state !== 'completed') {
    throw new Problem('illegal_state', `The run is ${state}: what it parks can be tried again once it is completed.`)
  }
  const latest = await findLatestRetry(tx, id)
  if (latest !== undefined && !latest.hasEnded) return { runId: latest.id }
  if ((await countStillParked(tx, id)) > 0) {
    const retry = await storeRun(tx, { asOfMs, knownBeforeMs, dryRun: false, retriesRun: id }, means)
    return { runId: retry.id }
  }
  if (latest !== undefined) return { runId: latest.id }
  throw new Problem('illegal_state', 'The run has parked no due period that is not billed; every run tries the others.')
}
