import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { idOrNull, type Transact } from '../../transaction.ts'
import type { BillingRun, BillingRunReport } from './billing-run.ts'
import type { Progress } from './steps.ts'

type RunRow = {
  id: string
  state: BillingRun['state']
  step: string
  as_of: Date
  known_before: Date
  seal_id: string
  subscriptions_due: number | null
  error: string | null
}
type ReportRow = RunRow & {
  invoices_created: number
  sealed_before: Date | null
  event_count: string | null
  digest: string | null
  parked: { subscriptionId: string; reason: string }[]
}

/** A report lists at most so many parked subscriptions. */
const PARKED_SHOWN = 1000

/** The counter is there before any invoice asks for a number, so that drawing is one UPDATE. */
export async function ensureInvoiceNumbers(tx: TenantTransaction): Promise<void> {
  await tx.query(
    'INSERT INTO invoice_numbers (tenant_id, last_number) VALUES (app_tenant(), 0) ON CONFLICT (tenant_id) DO NOTHING',
  )
}

export async function insertRun(tx: TenantTransaction, run: BillingRun, openedAtMs: number): Promise<void> {
  await tx.query(
    `INSERT INTO billing_runs (tenant_id, id, state, step, as_of, known_before, seal_id, opened_at)
     VALUES (app_tenant(), $1, $2, $3, $4, $5, $6, $7)`,
    [run.id, run.state, run.step, new Date(run.asOfMs), new Date(run.knownBeforeMs), run.sealId, new Date(openedAtMs)],
  )
}

/**
 * A run, if it is to go on: a failed one is running again, and its row keeps the error, so that the same one is not
 * news. Undefined when it is completed or not there.
 */
export async function takeUpRun(tx: TenantTransaction, runId: string): Promise<BillingRun | undefined> {
  const { rows } = await tx.query<RunRow>(
    `UPDATE billing_runs SET state = 'running' WHERE id = $1 AND state <> 'completed'
     RETURNING id, state, step, as_of, known_before, seal_id, subscriptions_due, error`,
    [runId],
  )
  return rows.map(fromRow)[0]
}

/** Runs that a crash or an error stopped, oldest first. */
export async function listUnfinishedRuns(tx: TenantTransaction): Promise<string[]> {
  const { rows } = await tx.query<{ id: string }>(
    "SELECT id FROM billing_runs WHERE state <> 'completed' ORDER BY opened_at, id",
  )
  return rows.map((row) => row.id)
}

/** Whether a run opened after a moment waits for its end. */
export async function hasUnfinishedRun(tx: TenantTransaction, openedAfterMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    "SELECT FROM billing_runs WHERE state <> 'completed' AND opened_at > $1 LIMIT 1",
    [new Date(openedAfterMs)],
  )
  return rowCount === 1
}

/** Whether something was billed, and no run that looked for late usage was opened after a moment. */
export async function wasNotLookedAt(tx: TenantTransaction, afterMs: number): Promise<boolean> {
  const { rows } = await tx.query<{ wanted: boolean }>(
    `SELECT EXISTS (SELECT FROM invoices) AND NOT EXISTS (
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

/** True for the one that completed it. */
export async function completeRun(tx: TenantTransaction, runId: string, atMs: number): Promise<boolean> {
  const { rowCount } = await tx.query(
    `UPDATE billing_runs SET state = 'completed', step = 'complete', error = NULL, completed_at = $2
     WHERE id = $1 AND state <> 'completed'`,
    [runId, new Date(atMs)],
  )
  return rowCount === 1
}

/** True if the error is news: not when the run failed with the same one before, or somebody completed it meanwhile. */
export async function failRun(tx: TenantTransaction, runId: string, error: string): Promise<boolean> {
  const { rows } = await tx.query<{ news: boolean }>(
    `UPDATE billing_runs r SET state = 'failed', error = $2
     FROM (SELECT tenant_id, id, error FROM billing_runs WHERE id = $1 FOR UPDATE) before
     WHERE r.tenant_id = before.tenant_id AND r.id = before.id AND r.state <> 'completed'
     RETURNING before.error IS DISTINCT FROM $2 AS news`,
    [runId, error],
  )
  return rows[0]?.news ?? false
}

/** Keeps the step that begins in a transaction of its own. */
export function progressInPostgres(transact: Transact, tenantId: TenantId, runId: string): Progress {
  return async (step) => {
    await transact(tenantId, (tx) =>
      tx.query("UPDATE billing_runs SET step = $2 WHERE id = $1 AND state <> 'completed' AND step <> $2", [
        runId,
        step,
      ]),
    )
  }
}

export async function findRunReport(tx: TenantTransaction, id: string): Promise<BillingRunReport | undefined> {
  const { rows } = await tx.query<ReportRow>(
    `SELECT r.id, r.state, r.step, r.as_of, r.known_before, r.seal_id, r.subscriptions_due, r.error,
       s.known_before AS sealed_before, s.event_count, s.digest,
       (SELECT count(*)::integer FROM invoices i WHERE i.tenant_id = r.tenant_id AND i.billing_run_id = r.id)
         AS invoices_created,
       (SELECT coalesce(jsonb_agg(jsonb_build_object('subscriptionId', p.subscription_id, 'reason', p.reason)), '[]')
        FROM (SELECT k.subscription_id, k.reason FROM parked_subscriptions k
              WHERE k.tenant_id = r.tenant_id AND k.billing_run_id = r.id
              ORDER BY k.subscription_id LIMIT $2) p) AS parked
     FROM billing_runs r LEFT JOIN seals s ON s.tenant_id = r.tenant_id AND s.seal_id = r.seal_id
     WHERE r.id = $1`,
    [idOrNull(id), PARKED_SHOWN],
  )
  return rows.map(toReport)[0]
}

function toReport(row: ReportRow): BillingRunReport {
  const { sealed_before: sealedBefore, event_count: eventCount, digest } = row
  const seal =
    sealedBefore === null || eventCount === null || digest === null
      ? null
      : { id: row.seal_id, knownBeforeMs: sealedBefore.getTime(), eventCount: Number(eventCount), digest }
  return { ...fromRow(row), seal, invoicesCreated: row.invoices_created, parked: row.parked }
}

function fromRow(row: RunRow): BillingRun {
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
  }
}
