import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import { billAgain } from '../again/bill-again.ts'
import { type ConsolidateDeps, consolidate } from '../consolidated/consolidate.ts'
import { billLateUsage, type LateDeps } from '../late/bill-late-usage.ts'
import { billProgressive } from '../progressive/bill-progressive.ts'
import { reviewRun } from '../review/review-run.ts'
import { awaitSeal, type SealWait } from './await-seal.ts'
import { type BillDeps, billDue } from './bill-due.ts'
import { billLeftWaiting } from './bill-left-waiting.ts'
import type { BillingRun, RunState } from './billing-run.ts'
import { checkSeal } from './check-seal.ts'
import { countDue } from './due.postgres.ts'
import {
  completeRun,
  findRunState,
  isToCollect,
  keepBillingSince,
  keepCollected,
  keepDueCount,
  keepLook,
  takeUpRun,
} from './runs.postgres.ts'
import { requestSeal } from './seal.postgres.ts'
import type { Progress } from './steps.ts'

/** Pays what a run issued; false when the process is to stop first. Collection lies above billing: it is handed in. */
export type Collect = (tenantId: TenantId, runId: string, progress: Progress) => Promise<boolean>

export type RunDeps = BillDeps &
  LateDeps &
  ConsolidateDeps & {
    collect: Collect
    sleep: (ms: number) => Promise<void>
    sealWait: SealWait
  }

/** How a runner leaves a run. */
export type RunOutcome = 'completed' | 'stopped' | 'awaiting_approval' | 'cancelled'

/**
 * Takes a run from wherever it stands to its end, or to where it waits for an approval. Order of effects, each in a
 * transaction of its own, and what a crash before it leaves to whoever continues:
 *   run row (open-run.ts)     nothing, the run never was
 *   seal request              a run without a seal; the same W is asked for. A dry run has none
 *   due count                 the seal; the count is kept once
 *   review (review/review-run.ts)   the due count; drafts go on where they are, and it is settled once whether it may bill
 *   invoices in the place of void ones (again/bill-again.ts)   a run that may bill; those that are issued wait no more
 *   late usage                the invoices before; a part of its subjects that is done differs by nothing any more
 *   left waiting              differences and items without an invoice: the next one finds them
 *   chunk of invoices         the chunks before it; the others are due still, and the same W makes the same lines
 *   progressive invoices (progressive/bill-progressive.ts)   due invoices; a period is below its threshold behind its own
 *   consolidated invoices (consolidated/consolidate.ts)   parts without numbers, which whoever continues gathers
 *   payment attempts, gateway, result (collection/payments)   issued invoices, unpaid
 *   completed                 everything done; it is only said again
 * Two runners of one run, or two runs of one tenant, may meet anywhere: unique keys let one of them through. Whatever
 * bills holds the run: cancelled, it is left as it is, and nothing of it is billed behind that.
 */
export async function runBilling(
  deps: RunDeps,
  progress: Progress,
  tenantId: TenantId,
  runId: string,
): Promise<RunOutcome> {
  const stateNow = () => deps.transact(tenantId, (tx) => findRunState(tx, runId))
  const run = await deps.transact(tenantId, (tx) => takeUpRun(tx, runId))
  if (run === undefined) return (await collectCancelled(deps, progress, tenantId, runId)) ?? outcomeOf(await stateNow())
  try {
    return await goThrough(deps, progress, tenantId, run)
  } catch (error) {
    if (error instanceof Problem && error.code === 'illegal_state' && (await stateNow()) === 'cancelled') {
      return 'cancelled'
    }
    throw error
  }
}

/** Charges what a cancelled run has issued, if that was asked for; undefined where nothing is to be done. */
async function collectCancelled(
  deps: RunDeps,
  progress: Progress,
  tenantId: TenantId,
  runId: string,
): Promise<RunOutcome | undefined> {
  if (!(await deps.transact(tenantId, (tx) => isToCollect(tx, runId)))) return undefined
  if (!(await deps.collect(tenantId, runId, progress))) return 'stopped'
  await deps.transact(tenantId, (tx) => keepCollected(tx, runId, deps.now()))
  return 'cancelled'
}

/** Of a run that is not to be taken up. */
function outcomeOf(state: RunState | undefined): RunOutcome {
  return state === 'awaiting_approval' || state === 'cancelled' ? state : 'completed'
}

async function goThrough(deps: RunDeps, progress: Progress, tenantId: TenantId, run: BillingRun): Promise<RunOutcome> {
  const { transact } = deps
  await progress('open')
  if (!run.dryRun && !(await sealed(deps, progress, tenantId, run))) return 'stopped'
  await transact(tenantId, async (tx) =>
    keepDueCount(tx, run.id, await countDue(tx, run.asOfMs, run.id, run.retriesRun)),
  )
  await progress('review')
  const verdict = await reviewRun(deps, tenantId, run)
  if (verdict !== 'released') return verdict
  if (!run.dryRun && !(await bill(deps, progress, tenantId, run))) return 'stopped'
  await progress('complete')
  await transact(tenantId, async (tx) => {
    const atMs = deps.now()
    if (!(await completeRun(tx, run.id, atMs))) return
    await insertBillingEvents(
      tx,
      [{ id: deps.newId(), event: 'billing_run.completed', billingRunId: run.id, data: {} }],
      atMs,
    )
  })
  return outcomeOf(await transact(tenantId, (tx) => findRunState(tx, run.id)))
}

/** False when the process is to stop first. */
async function sealed(deps: RunDeps, progress: Progress, tenantId: TenantId, run: BillingRun): Promise<boolean> {
  await progress('request-seal')
  await deps.transact(tenantId, (tx) => requestSeal(tx, run, deps.now()))
  await progress('await-seal')
  const seal = await awaitSeal(deps, deps.sealWait, tenantId, run)
  if (seal === undefined) return false
  await checkSeal(deps.usage, tenantId, seal)
  return true
}

/** False when the process is to stop first. A run that tries what was parked again bills nothing beside that. */
async function bill(deps: RunDeps, progress: Progress, tenantId: TenantId, run: BillingRun): Promise<boolean> {
  const { transact } = deps
  const isRetry = run.retriesRun !== null
  await progress('bill-again')
  if (!isRetry && !(await billAgain(deps, tenantId, run))) return false
  await progress('late-usage')
  if (!isRetry) {
    if (!(await billLateUsage(deps, tenantId, run))) return false
    await transact(tenantId, (tx) => keepLook(tx, run.id, deps.now()))
  }
  await transact(tenantId, (tx) => keepBillingSince(tx, run.id, deps.now()))
  await progress('left-waiting')
  if (!isRetry && !(await billLeftWaiting(deps, tenantId, run))) return false
  if (!(await billDue(deps, progress, tenantId, run))) return false
  await progress('progressive')
  if (!isRetry && !(await billProgressive(deps, tenantId, run))) return false
  // Behind all that issues: what it gathers would else wait for the next run.
  await progress('consolidate')
  if (!(await consolidate(deps, tenantId, run))) return false
  return deps.collect(tenantId, run.id, progress)
}
