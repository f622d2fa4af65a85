import { Problem } from '../../schemas/http/problem.ts'

/** What the source of every backfill begins with, and no other source: the doors for other events refuse it. */
export const BACKFILL_SOURCE_PREFIX = 'backfill:'

export type BackfillState = 'open' | 'closed' | 'reverting' | 'reverted'

/** A bulk import that can be reverted as a whole. Its events are those under its source. */
export type Backfill = {
  id: string
  name: string
  source: string
  state: BackfillState
  openedAt: Date
  closedAt: Date | null
  /** Copies by outcome, as they were answered. */
  accepted: number
  duplicate: number
  rejected: number
  revertAskedAt: Date | null
  revertedAt: Date | null
  /** Identities voided so far. */
  voided: number
}

export function noBackfill(id: string): Problem {
  return new Problem('not_found', `There is no backfill ${id.slice(0, 64)}`)
}
