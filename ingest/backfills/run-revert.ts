import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { isStoredUpTo } from '../../schemas/clickhouse/stored-ends.clickhouse.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { type TenantTransaction, withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import type { Batcher } from '../append/batcher.ts'
import type { EventLogWriter } from '../append/event-log.ts'
import { appendCorrections } from '../corrections/correct.ts'
import { encodeCorrection } from '../corrections/correction.ts'
import {
  type ClaimedRevert,
  claimRevert,
  finishRevert,
  keepRevert,
  releaseRevert,
  type WaitingRevert,
} from './backfills.postgres.ts'
import { identitiesUnder, type StoredIdentity } from './identities.clickhouse.ts'

export type RevertDeps = {
  pool: Pool
  usage: ClickHouseStore
  writer: EventLogWriter
  batcher: Batcher
  now: () => number
  stopping: () => boolean
}

const IDENTITIES_PER_PAGE = 2_000
/** Longer than a page should take; after a kill -9 another process goes on after it. */
const CLAIM_SECONDS = 30
const POLL_MS = 100

/**
 * Voids everything under a backfill's source; nothing is appended to it any more. Order of effects, and what a crash
 * between them leaves: (1) this process claims the revert; (2) usage must have come as far as the log is now: then every
 * identity is listed; (3) for each page its voids are appended, (4) then the page is noted: a crash before that repeats
 * its voids, as the same operation of the same moment, which changes nothing; (5) the backfill is reverted. If another
 * process took the revert up because a page took longer than the claim, it goes on alone from the last page noted: this
 * one notes nothing more, and what it appended is appended again as the same operation.
 */
export async function runRevert(deps: RevertDeps, { tenantId, backfillId }: WaitingRevert): Promise<void> {
  const inTenant = <T>(work: (tx: TenantTransaction) => Promise<T>) => withTenant(deps.pool, tenantId, work)
  const revert = await inTenant((tx) => claimRevert(tx, backfillId, CLAIM_SECONDS))
  if (!revert) return
  const keep = (done: Pick<ClaimedRevert, 'voided' | 'after'>) =>
    inTenant((tx) => keepRevert(tx, revert, CLAIM_SECONDS, done))
  let { voided, after } = revert
  try {
    if (!(await usageCaughtUp(deps, () => keep({ voided, after })))) return
    while (!deps.stopping()) {
      const page = await identitiesUnder(deps.usage, tenantId, revert.source, after, IDENTITIES_PER_PAGE)
      const last = page.at(-1)
      if (!last) {
        await inTenant((tx) => finishRevert(tx, revert, new Date(deps.now())))
        return
      }
      await appendVoids(deps, tenantId, revert, page)
      voided += page.length
      after = last
      if (!(await keep({ voided, after }))) return
    }
  } finally {
    // If this fails as well, the claim ends by itself.
    await inTenant((tx) => releaseRevert(tx, revert)).catch(() => undefined)
  }
}

/** False: this process stops, or the revert is another's. */
async function usageCaughtUp(deps: RevertDeps, keep: () => Promise<boolean>): Promise<boolean> {
  const ends = await deps.writer.ends()
  for (let polls = 1; !(await isStoredUpTo(deps.usage, deps.writer.logId, ends)); polls++) {
    if (deps.stopping()) return false
    if (polls % 50 === 0 && !(await keep())) return false
    await sleep(POLL_MS)
  }
  return true
}

async function appendVoids(
  { batcher, writer }: RevertDeps,
  tenant: TenantId,
  { id, name, source, askedAt, askedBy }: ClaimedRevert,
  page: readonly StoredIdentity[],
): Promise<void> {
  const options = {
    tenant,
    kind: 'void' as const,
    operationId: `revert-${id}`,
    by: askedBy,
    nowMs: askedAt.getTime(),
    partitions: writer.partitions,
  }
  const reason = `Backfill ${name} was reverted`
  const voids = page.map((identity) => encodeCorrection(options, { source, id: identity.id, reason }))
  if (!(await appendCorrections(batcher, voids))) throw new Error('The event log did not take the voids of a revert')
}
