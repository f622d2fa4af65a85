import type { TenantId } from '../../../schemas/http/door.ts'
import { insertBillingEvents } from '../../outbox/history.postgres.ts'
import { billLateUsage, type LateDeps } from '../late/bill-late-usage.ts'
import { awaitSeal, type SealWait } from './await-seal.ts'
import { type BillDeps, billDue } from './bill-due.ts'
import { billLeftWaiting } from './bill-left-waiting.ts'
import { checkSeal } from './check-seal.ts'
import { countDue } from './due.postgres.ts'
import { completeRun, keepDueCount, keepLook, takeUpRun } from './runs.postgres.ts'
import { requestSeal } from './seal.postgres.ts'
import type { Progress } from './steps.ts'

/** Pays what a run issued; false when the process is to stop first. Collection lies above billing: it is handed in. */
export type Collect = (tenantId: TenantId, runId: string, progress: Progress) => Promise<boolean>

export type RunDeps = BillDeps &
  LateDeps & {
    collect: Collect
    sleep: (ms: number) => Promise<void>
    sealWait: SealWait
  }

/**
 * Takes a run from wherever it stands to its end. Order of effects, each in a transaction of its own, and what a crash
 * before it leaves to whoever continues:
 *   run row (open-run.ts)     nothing, the run never was
 *   seal request              a run without a seal; the same W is asked for
 *   due count                 the seal; the count is kept once
 *   late usage                the due count; a part of its subjects that is done differs by nothing any more
 *   left waiting              differences and items without an invoice: the next one finds them
 *   chunk of invoices         the chunks before it; the others are due still, and the same W makes the same lines
 *   payment attempts, gateway, result (collection/payments)   issued invoices, unpaid
 *   completed                 everything done; it is only said again
 * Two runners of one run, or two runs of one tenant, may meet anywhere: unique keys let one of them through.
 */
export async function runBilling(
  deps: RunDeps,
  progress: Progress,
  tenantId: TenantId,
  runId: string,
): Promise<'completed' | 'stopped'> {
  const { transact } = deps
  const run = await transact(tenantId, (tx) => takeUpRun(tx, runId))
  if (run === undefined) return 'completed'
  await progress('open')
  await progress('request-seal')
  await transact(tenantId, (tx) => requestSeal(tx, run, deps.now()))
  await progress('await-seal')
  const seal = await awaitSeal(deps, deps.sealWait, tenantId, run)
  if (seal === undefined) return 'stopped'
  await checkSeal(deps.usage, tenantId, seal)
  await transact(tenantId, async (tx) => keepDueCount(tx, runId, await countDue(tx, run.asOfMs, runId)))
  await progress('late-usage')
  if (!(await billLateUsage(deps, tenantId, run))) return 'stopped'
  await transact(tenantId, (tx) => keepLook(tx, runId, deps.now()))
  await progress('left-waiting')
  if (!(await billLeftWaiting(deps, tenantId, run))) return 'stopped'
  if (!(await billDue(deps, progress, tenantId, run))) return 'stopped'
  if (!(await deps.collect(tenantId, runId, progress))) return 'stopped'
  await progress('complete')
  await transact(tenantId, async (tx) => {
    const atMs = deps.now()
    if (!(await completeRun(tx, runId, atMs))) return
    await insertBillingEvents(
      tx,
      [{ id: deps.newId(), event: 'billing_run.completed', billingRunId: runId, data: {} }],
      atMs,
    )
  })
  return 'completed'
}
