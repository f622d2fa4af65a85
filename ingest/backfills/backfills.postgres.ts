import type { Pool } from 'pg'
import type { TenantId } from '../../schemas/http/door.ts'
import type { TenantTransaction } from '../../schemas/postgres/tenant.postgres.ts'
import type { Backfill, BackfillState } from './backfill.ts'

type BackfillRow = Omit<Backfill, 'accepted' | 'duplicate' | 'rejected' | 'voided'> & {
  accepted: string
  duplicate: string
  rejected: string
  voided: string
}

const COLUMNS = `backfill_id AS id, name, source, state, opened_at AS "openedAt", closed_at AS "closedAt",
  accepted, duplicate, rejected, revert_asked_at AS "revertAskedAt", reverted_at AS "revertedAt", voided`

function backfillOf(row: BackfillRow): Backfill {
  const { accepted, duplicate, rejected, voided, ...same } = row
  return {
    ...same,
    accepted: Number(accepted),
    duplicate: Number(duplicate),
    rejected: Number(rejected),
    voided: Number(voided),
  }
}

/** False when the tenant has a backfill of that source. */
export async function insertBackfill(
  tx: TenantTransaction,
  { id, name, source, openedAt }: Pick<Backfill, 'id' | 'name' | 'source' | 'openedAt'>,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `INSERT INTO backfills (tenant_id, backfill_id, name, source, state, opened_at)
     VALUES (app_tenant(), $1, $2, $3, 'open', $4) ON CONFLICT (tenant_id, source) DO NOTHING`,
    [id, name, source, openedAt],
  )
  return rowCount === 1
}

export async function findBackfill(tx: TenantTransaction, id: string): Promise<Backfill | undefined> {
  const { rows } = await tx.query<BackfillRow>(`SELECT ${COLUMNS} FROM backfills WHERE backfill_id = $1`, [id])
  return rows[0] && backfillOf(rows[0])
}

export async function findBackfillBySource(tx: TenantTransaction, source: string): Promise<Backfill | undefined> {
  const { rows } = await tx.query<BackfillRow>(`SELECT ${COLUMNS} FROM backfills WHERE source = $1`, [source])
  return rows[0] && backfillOf(rows[0])
}

/** In the order of opening; ids are UUIDv7. */
export async function listBackfills(
  tx: TenantTransaction,
  { limit, after }: { limit: number; after: string | null },
): Promise<Backfill[]> {
  const { rows } = await tx.query<BackfillRow>(
    `SELECT ${COLUMNS} FROM backfills WHERE $2::uuid IS NULL OR backfill_id > $2 ORDER BY backfill_id LIMIT $1`,
    [limit, after],
  )
  return rows.map(backfillOf)
}

/** The backfill, of which the state cannot change until the transaction ends. Many may hold it so. */
export async function holdBackfill(
  tx: TenantTransaction,
  id: string,
): Promise<{ source: string; state: BackfillState } | undefined> {
  const { rows } = await tx.query<{ source: string; state: BackfillState }>(
    'SELECT source, state FROM backfills WHERE backfill_id = $1 FOR KEY SHARE',
    [id],
  )
  return rows[0]
}

/** The backfill, once nobody holds it, for this transaction alone: to change its state. */
export async function lockBackfill(tx: TenantTransaction, id: string): Promise<Backfill | undefined> {
  const { rows } = await tx.query<BackfillRow>(`SELECT ${COLUMNS} FROM backfills WHERE backfill_id = $1 FOR UPDATE`, [
    id,
  ])
  return rows[0] && backfillOf(rows[0])
}

export async function countOutcomesOf(
  tx: TenantTransaction,
  id: string,
  counts: { accepted: number; duplicate: number; rejected: number },
): Promise<void> {
  await tx.query(
    `UPDATE backfills SET accepted = accepted + $2, duplicate = duplicate + $3, rejected = rejected + $4
     WHERE backfill_id = $1`,
    [id, counts.accepted, counts.duplicate, counts.rejected],
  )
}

export async function closeOpen(tx: TenantTransaction, id: string, closedAt: Date): Promise<void> {
  await tx.query(`UPDATE backfills SET state = 'closed', closed_at = $2 WHERE backfill_id = $1 AND state = 'open'`, [
    id,
    closedAt,
  ])
}

/** A second revert starts from the beginning; it is the operation that the first one was. */
export async function startRevert(tx: TenantTransaction, id: string, askedAt: Date, askedBy: string): Promise<void> {
  await tx.query(
    `UPDATE backfills SET state = 'reverting', closed_at = coalesce(closed_at, $2),
       revert_asked_at = coalesce(revert_asked_at, $2), revert_asked_by = coalesce(revert_asked_by, $3),
       reverted_at = NULL, voided = 0, voided_shard = NULL, voided_id = NULL, revert_claimed_until = NULL
     WHERE backfill_id = $1 AND state <> 'reverting'`,
    [id, askedAt, askedBy],
  )
}

export type WaitingRevert = { tenantId: TenantId; backfillId: string }

export async function listWaitingReverts(pool: Pool): Promise<WaitingRevert[]> {
  const { rows } = await pool.query<WaitingRevert>(
    'SELECT tenant_id AS "tenantId", backfill_id AS "backfillId" FROM waiting_reverts()',
  )
  return rows
}

export type ClaimedRevert = {
  id: string
  /** Grows with each claim of the revert: who has an older one has lost it. */
  claim: string
  name: string
  source: string
  askedAt: Date
  askedBy: string
  voided: number
  /** The last identity that was voided. */
  after: { shard: string; id: string } | undefined
}

/** The revert, if it is to be done and no process works on it: then it is this process's for a while. */
export async function claimRevert(
  tx: TenantTransaction,
  id: string,
  claimSeconds: number,
): Promise<ClaimedRevert | undefined> {
  const { rows } = await tx.query<Omit<ClaimedRevert, 'voided' | 'after'> & VoidedRow>(
    `UPDATE backfills SET revert_claimed_until = now() + make_interval(secs => $2), revert_claim = revert_claim + 1
     WHERE backfill_id = $1 AND state = 'reverting'
       AND (revert_claimed_until IS NULL OR revert_claimed_until < now())
     RETURNING backfill_id AS id, revert_claim::text AS claim, name, source, revert_asked_at AS "askedAt", revert_asked_by AS "askedBy",
       voided, voided_shard AS "voidedShard", voided_id AS "voidedId"`,
    [id, claimSeconds],
  )
  const [row] = rows
  if (!row) return undefined
  const { voided, voidedShard, voidedId, ...same } = row
  const after = voidedShard === null || voidedId === null ? undefined : { shard: voidedShard, id: voidedId }
  return { ...same, voided: Number(voided), after }
}
type VoidedRow = { voided: string; voidedShard: string | null; voidedId: string | null }

/**
 * Notes how far a revert has come and goes on claiming it; without `after` it only does the latter. False: another
 * process has claimed it since, and what it notes stands.
 */
export async function keepRevert(
  tx: TenantTransaction,
  { id, claim }: Pick<ClaimedRevert, 'id' | 'claim'>,
  claimSeconds: number,
  { voided, after }: Pick<ClaimedRevert, 'voided' | 'after'>,
): Promise<boolean> {
  const { rowCount } = await tx.query(
    `UPDATE backfills SET revert_claimed_until = now() + make_interval(secs => $3), voided = $4,
       voided_shard = $5, voided_id = $6
     WHERE backfill_id = $1 AND revert_claim = $2 AND state = 'reverting'`,
    [id, claim, claimSeconds, voided, after?.shard ?? null, after?.id ?? null],
  )
  return rowCount === 1
}

/** Lets another process, or a later try, take the revert up at once. */
export async function releaseRevert(
  tx: TenantTransaction,
  { id, claim }: Pick<ClaimedRevert, 'id' | 'claim'>,
): Promise<void> {
  await tx.query('UPDATE backfills SET revert_claimed_until = NULL WHERE backfill_id = $1 AND revert_claim = $2', [
    id,
    claim,
  ])
}

export async function finishRevert(
  tx: TenantTransaction,
  { id, claim }: Pick<ClaimedRevert, 'id' | 'claim'>,
  revertedAt: Date,
): Promise<void> {
  await tx.query(
    `UPDATE backfills SET state = 'reverted', reverted_at = $3, revert_claimed_until = NULL
     WHERE backfill_id = $1 AND revert_claim = $2 AND state = 'reverting'`,
    [id, claim, revertedAt],
  )
}
