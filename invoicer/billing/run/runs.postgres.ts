import type { TenantId } from '../../../schemas/http/door.ts'
import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { Transact } from '../../transaction.ts'
import type { BillingRun, RunState } from './billing-run.ts'
import type { Progress } from './steps.ts'

export type RunRow = {
  id: string
  state: BillingRun['state']
  step: string
  as_of: Date
  known_before: Date
  seal_id: string
  subscriptions_due: number | null
  error: string | null
  dry_run: boolean
  retries_run: string | null
  released_at: Date | null
}

/** The columns of a `RunRow`, of `billing_runs r`. */
export const RUN_COLUMNS = `r.id, r.state, r.step, r.as_of, r.known_before, r.seal_id, r.subscriptions_due, r.error,
  r.dry_run, r.retries_run, r.released_at`
export async function insertRun(tx: TenantTransaction, run: BillingRun, openedAtMs: number): Promise<void> {
  await tx.query(
    `INSERT INTO billing_runs
       (tenant_id, id, state, step, as_of, known_before, seal_id, opened_at, dry_run, retries_run, released_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
    [
      ...[run.id, run.state, run.step, new Date(run.asOfMs), new Date(run.knownBeforeMs), run.sealId],
      ...[new Date(openedAtMs), run.dryRun, run.retriesRun],
      run.releasedAtMs === null ? null : new Date(run.releasedAtMs),
    ],
  )
}

/**
 * A run, if it is to go on: a failed one is running again, and its row keeps the error, so that the same one is not
 * news. Undefined when it has ended, waits for approval, or is not there.
 */
export async function takeUpRun(tx: TenantTransaction, runId: string): Promise<BillingRun | undefined> {
  const { rows } = await tx.query<RunRow>(
    `UPDATE billing_runs r SET state = 'running' WHERE id = $1 AND state IN ('running', 'failed') RETURNING ${RUN_COLUMNS}`,
    [runId],
  )
  return rows.map(runFromRow)[0]
}

/** Runs that bill, and that a crash or an error stopped, and cancelled ones that have something to charge; oldest first. */
export async function listUnfinishedRuns(tx: TenantTransaction): Promise<string[]> {
  const { rows } = await tx.query<{ id: string }>(
    `SELECT id FROM billing_runs
     WHERE (NOT dry_run AND state IN ('running', 'failed'))
       OR (state = 'cancelled' AND collect_asked_at IS NOT NULL AND collected_at IS NULL)
     ORDER BY opened_at, id`,
  )
  return rows.map((row) => row.id)
}

export async function listUnfinishedDryRuns(tx: TenantTransaction): Promise<string[]> {
  const { rows } = await tx.query<{ id: string }>(
    `SELECT id FROM billing_runs WHERE dry_run AND state IN ('running', 'failed') ORDER BY opened_at, id`,
  )
  return rows.map((row) => row.id)
}

/** Until the end of the transaction no other process opens a run of the schedule for the tenant. */
export async function lockSchedule(tx: TenantTransaction): Promise<void> {
  await tx.query("SELECT pg_advisory_xact_lock(hashtextextended('billing runs', app_tenant()))")
}

/** Whether the latest run that was to bill was cancelled, and nobody has started another one since. */
export async function isHeldByCancel(tx: TenantTransaction): Promise<boolean> {
  const { rows } = await tx.query<{ state: RunState }>(
    `SELECT state FROM billing_runs WHERE NOT dry_run AND retries_run IS NULL ORDER BY opened_at DESC, id DESC LIMIT 1`,
  )
  return rows[0]?.state === 'cancelled'
}

/**
 * Whether a run opened after a moment waits for its end, or any for approval: another one would wait beside it. Runs that
 * bill nothing, or what was parked alone, are in nobody's way.
 */
export async function hasUnfinishedRun(tx: TenantTransaction, openedAfterMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `SELECT FROM billing_runs WHERE NOT dry_run AND retries_run IS NULL
       AND (state = 'awaiting_approval' OR (state IN ('running', 'failed') AND opened_at > $1)) LIMIT 1`,
    [new Date(openedAfterMs)],
  )
  return rowCount === 1
}

/** Whether something was billed, and no run that looked for late usage was opened after a moment. */
export async function wasNotLookedAt(tx: TenantTransaction, afterMs: number): Promise<boolean> {
  const { rows } = await tx.query<{ wanted: boolean }>(
    `SELECT EXISTS (SELECT FROM invoices WHERE subscription_id IS NOT NULL) AND NOT EXISTS (
       SELECT FROM billing_runs WHERE looked_at IS NOT NULL AND opened_at > $1) AS wanted`,
    [new Date(afterMs)],
  )
  return rows[0]?.wanted === true
}

/** The run has billed what came late behind the runs before it. */
export async function keepLook(tx: TenantTransaction, runId: string, atMs: number): Promise<void> {
  await tx.query('UPDATE billing_runs SET looked_at = $2 WHERE id = $1 AND looked_at IS NULL', [runId, new Date(atMs)])
}

/** How many subscriptions the run found due: kept from its first count, whatever a continued run still finds. */
export async function keepDueCount(tx: TenantTransaction, runId: string, due: number): Promise<void> {
  await tx.query('UPDATE billing_runs SET subscriptions_due = $2 WHERE id = $1 AND subscriptions_due IS NULL', [
    runId,
    due,
  ])
}

/** From when on the run's rate is counted. */
export async function keepBillingSince(tx: TenantTransaction, runId: string, atMs: number): Promise<void> {
  await tx.query('UPDATE billing_runs SET billing_since = $2 WHERE id = $1 AND billing_since IS NULL', [
    runId,
    new Date(atMs),
  ])
}

export async function findRunState(tx: TenantTransaction, runId: string): Promise<RunState | undefined> {
  const { rows } = await tx.query<{ state: RunState }>('SELECT state FROM billing_runs WHERE id = $1', [runId])
  return rows[0]?.state
}

/**
 * For whatever bills: whoever cancels the run waits until this transaction has ended, and nothing is billed behind that.
 * It keeps nobody from noting the run's progress.
 * @throws Problem illegal_state when the run is cancelled.
 */
export async function holdRun(tx: TenantTransaction, runId: string): Promise<void> {
  await queueForRun(tx, runId, 'shared')
  const { rowCount } = await tx.query("SELECT FROM billing_runs WHERE id = $1 AND state <> 'cancelled' FOR KEY SHARE", [
    runId,
  ])
  if (rowCount === 0) throw new Problem('illegal_state', 'The billing run was cancelled: it bills nothing any more.')
}

/** For whatever begins charges, likewise; those of a cancelled run may have been asked for. @throws Problem illegal_state. */
export async function holdRunToCharge(tx: TenantTransaction, runId: string): Promise<void> {
  await queueForRun(tx, runId, 'shared')
  const { rowCount } = await tx.query(
    `SELECT FROM billing_runs WHERE id = $1 AND (state <> 'cancelled' OR collect_asked_at IS NOT NULL) FOR KEY SHARE`,
    [runId],
  )
  if (rowCount === 0) throw new Problem('illegal_state', 'The billing run was cancelled: it charges nothing any more.')
}

/**
 * Whoever bills by a run shares it, whoever cancels it wants it alone. Locks of its row have no queue for the shared ones: chunk
 * after chunk, each begun before the last has ended, would hold it, and cancelling would wait for the end of the run.
 */
export async function queueForRun(tx: TenantTransaction, runId: string, as: 'shared' | 'alone'): Promise<void> {
  const lock = as === 'shared' ? 'pg_advisory_xact_lock_shared' : 'pg_advisory_xact_lock'
  await tx.query(`SELECT ${lock}(hashtextextended('billing run ' || $1::text, app_tenant()))`, [runId])
}

/** Whether a run is cancelled, and what it issued is still to be charged all the same. */
export async function isToCollect(tx: TenantTransaction, runId: string): Promise<boolean> {
  const { rowCount } = await tx.query(
    'SELECT FROM billing_runs WHERE id = $1 AND collect_asked_at IS NOT NULL AND collected_at IS NULL',
    [runId],
  )
  return rowCount === 1
}

export async function keepCollected(tx: TenantTransaction, runId: string, atMs: number): Promise<void> {
  await tx.query('UPDATE billing_runs SET collected_at = $2 WHERE id = $1', [runId, new Date(atMs)])
}

/** True for the one that completed it. */
export async function completeRun(tx: TenantTransaction, runId: string, atMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `UPDATE billing_runs SET state = 'completed', step = 'complete', error = NULL, completed_at = $2
     WHERE id = $1 AND state IN ('running', 'failed')`,
    [runId, new Date(atMs)],
  )
  return rowCount === 1
}

/** True if the error is news: not when the run failed with the same one before, or it has ended meanwhile. */
export async function failRun(tx: TenantTransaction, runId: string, error: string): Promise<boolean> {
  const { rows } = await tx.query<{ news: boolean }>(
    `UPDATE billing_runs r SET state = 'failed', error = $2
     FROM (SELECT tenant_id, id, error FROM billing_runs WHERE id = $1 FOR UPDATE) before
     WHERE r.tenant_id = before.tenant_id AND r.id = before.id AND r.state IN ('running', 'failed')
     RETURNING before.error IS DISTINCT FROM $2 AS news`,
    [runId, error],
  )
  return rows[0]?.news ?? false
}

/** Keeps the step that begins in a transaction of its own. */
export function progressInPostgres(transact: Transact, tenantId: TenantId, runId: string): Progress {
  return async (step) => {
    await transact(tenantId, (tx) =>
      tx.query("UPDATE billing_runs SET step = $2 WHERE id = $1 AND state IN ('running', 'failed') AND step <> $2", [
        runId,
        step,
      ]),
    )
  }
}

export function runFromRow(row: RunRow): BillingRun {
  return {
    id: row.id,
    state: row.state,
    step: row.step,
    asOfMs: row.as_of.getTime(),
    knownBeforeMs: row.known_before.getTime(),
    sealId: row.seal_id,
    subscriptionsDue: row.subscriptions_due,
    // A run that goes on may keep the error that stopped it before.
    error: row.state === 'failed' ? row.error : null,
    dryRun: row.dry_run,
    retriesRun: row.retries_run,
    releasedAtMs: row.released_at === null ? null : row.released_at.getTime(),
  }
}
