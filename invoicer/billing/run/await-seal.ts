import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { Transact } from '../../transaction.ts'
import type { BillingRun, Seal } from './billing-run.ts'
import { holdRun } from './runs.postgres.ts'
import { findSeal } from './seal.postgres.ts'

/** How long a run waits for its seal: so many looks, so far apart. */
export type SealWait = { pollMs: number; polls: number }
/** One minute. */
export const SEAL_WAIT: SealWait = { pollMs: 100, polls: 600 }

export type SealDeps = { transact: Transact; sleep: (ms: number) => Promise<void>; stopping: () => boolean }

/**
 * The seal of a run; undefined when the process is to stop first.
 * @throws Problem unavailable when the aggregator does not answer in time. Without a seal there is no invoice: the run
 * stays as it is, and is continued with the same W; illegal_state when it is cancelled meanwhile.
 */
export async function awaitSeal(
  deps: SealDeps,
  wait: SealWait,
  tenantId: TenantId,
  run: BillingRun,
): Promise<Seal | undefined> {
  for (let poll = 0; poll < wait.polls; poll += 1) {
    if (deps.stopping()) return undefined
    const seal = await deps.transact(tenantId, async (tx) => {
      await holdRun(tx, run.id)
      return findSeal(tx, run.sealId)
    })
    if (seal !== undefined) return checkedSeal(seal, run)
    await deps.sleep(wait.pollMs)
  }
  throw new Problem('unavailable', 'The seal was not answered in time. The run will be continued.')
}

function checkedSeal(seal: Seal, run: BillingRun): Seal {
  if (seal.knownBeforeMs === run.knownBeforeMs) return seal
  throw new Problem('calculation_failed', 'The seal answers for another moment than the run asked for.')
}
