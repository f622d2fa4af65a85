import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { RunState } from '../run/billing-run.ts'
import { holdRun, queueForRun } from '../run/runs.postgres.ts'

/**
 * What is drafted in turn: what takes the place of void invoices; what waits for subscriptions that have ended, and what came
 * late for them; due periods; running ones that have come to their threshold; what is missing.
 */
export const REVIEW_PARTS = ['again', 'waiting', 'late', 'due', 'progressive', 'missing', 'done'] as const
/** How far the drafts of a run are written: behind which subscription of which part. */
export type Place = { part: (typeof REVIEW_PARTS)[number]; after: string | null }

/** @throws Problem illegal_state when the run is cancelled. */
export async function findPlace(tx: TenantTransaction, runId: string): Promise<Place> {
  await holdRun(tx, runId)
  const { rows } = await tx.query<{ review_part: Place['part'] | null; review_after: string | null }>(
    'SELECT review_part, review_after FROM billing_runs WHERE id = $1',
    [runId],
  )
  return { part: rows[0]?.review_part ?? 'again', after: rows[0]?.review_after ?? null }
}

/**
 * True if the run stood there, and is at work: of several runners one writes the drafts of a place. Its turn comes first: one
 * that is not there any more keeps the row locked that it waited for, and whoever settles the run has its turn and wants the row.
 */
export async function movePlace(tx: TenantTransaction, runId: string, from: Place, to: Place): Promise<boolean> {
  await queueForRun(tx, runId, 'shared')
  const { rowCount } = await tx.query(
    `UPDATE billing_runs SET review_part = $4, review_after = $5
     WHERE id = $1 AND state IN ('running', 'failed') AND coalesce(review_part, 'again') = $2
       AND review_after IS NOT DISTINCT FROM $3::uuid`,
    [runId, from.part, from.after, to.part, to.after],
  )
  return rowCount === 1
}

export type LockedRun = {
  state: RunState
  dryRun: boolean
  releasedAtMs: number | null
  approvedBy: string | null
  asOfMs: number
  knownBeforeMs: number
  isToCollect: boolean
}

/** Until the end of the transaction nobody bills by the run, nor changes its state. @throws Problem not_found. */
export async function lockRun(tx: TenantTransaction, runId: string | null): Promise<LockedRun> {
  if (runId !== null) await queueForRun(tx, runId, 'alone')
  const { rows } = await tx.query<{
    state: RunState
    dry_run: boolean
    released_at: Date | null
    approved_by: string | null
    as_of: Date
    known_before: Date
    is_to_collect: boolean
  }>(
    `SELECT state, dry_run, released_at, approved_by, as_of, known_before, collect_asked_at IS NOT NULL AS is_to_collect
     FROM billing_runs WHERE id = $1 FOR UPDATE`,
    [runId],
  )
  const [row] = rows
  if (row === undefined) throw new Problem('not_found', 'There is no billing run with this id.')
  return {
    state: row.state,
    dryRun: row.dry_run,
    releasedAtMs: row.released_at === null ? null : row.released_at.getTime(),
    approvedBy: row.approved_by,
    asOfMs: row.as_of.getTime(),
    knownBeforeMs: row.known_before.getTime(),
    isToCollect: row.is_to_collect,
  }
}

/** The run may bill from now on; `by` if somebody approved that. */
export async function releaseRun(tx: TenantTransaction, runId: string, by: string | null, atMs: number): Promise<void> {
  await tx.query(`UPDATE billing_runs SET state = 'running', released_at = $2, approved_by = $3 WHERE id = $1`, [
    runId,
    new Date(atMs),
    by,
  ])
}

export async function awaitApproval(tx: TenantTransaction, runId: string): Promise<void> {
  await tx.query(`UPDATE billing_runs SET state = 'awaiting_approval', error = NULL WHERE id = $1`, [runId])
}

/** What the cancelled run has issued is to be charged. */
export async function askToCollect(tx: TenantTransaction, runId: string, atMs: number): Promise<void> {
  await tx.query('UPDATE billing_runs SET collect_asked_at = $2 WHERE id = $1', [runId, new Date(atMs)])
}

/** It has ended, as a completed one has. */
export async function endCancelled(tx: TenantTransaction, runId: string, by: string, atMs: number): Promise<void> {
  await tx.query(
    `UPDATE billing_runs SET state = 'cancelled', error = NULL, completed_at = $2, cancelled_by = $3 WHERE id = $1`,
    [runId, new Date(atMs), by],
  )
}
