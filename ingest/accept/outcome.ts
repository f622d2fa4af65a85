/**
 * How one event ended at the edge. `duplicate` means within this request: the edge knows no more; later copies are
 * found when they are stored. `quota_unchecked`: its counters could not be asked, and its limits are open. Exactly one
 * outcome per event, in the order sent.
 */
export type Outcome =
  | { outcome: 'accepted'; id: string; quota_remaining?: string; over_quota?: true; quota_unchecked?: true }
  | { outcome: 'duplicate'; id: string }
  | { outcome: 'rejected'; id?: string; code: string; path: string; message: string }
  | { outcome: 'quota_exceeded'; id: string; quota_remaining: string }
  | { outcome: 'failed'; id: string; retryable: true; message: string }

export type OutcomeKind = Outcome['outcome']
export const OUTCOME_KINDS: readonly OutcomeKind[] = ['accepted', 'duplicate', 'rejected', 'quota_exceeded', 'failed']

export function countOutcomes(results: readonly { outcome: Outcome }[]): Record<OutcomeKind, number> {
  const counts = { accepted: 0, duplicate: 0, rejected: 0, quota_exceeded: 0, failed: 0 }
  for (const { outcome } of results) counts[outcome.outcome]++
  return counts
}
