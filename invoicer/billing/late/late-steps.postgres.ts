import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { BillingRun } from '../run/billing-run.ts'
import type { LateStep } from '../usage.ts'

/** Steps that one statement is given at most. */
const MOST_STEPS = 400

/**
 * From when on to look, and what is late then: behind the W of each run before, what happened before its as_of. The first
 * is the earliest W of the runs that may have billed behind the back of the latest one that looked, with what they knew:
 * - those completed since that one opened; runs of versions that did not look are never that one;
 * - those not completed that have billed something since a day before that: a transaction begun earlier has ended. One
 *   that is stuck thus holds nothing back, and whatever it bills later is looked at by the run after that.
 * A run without its due count has billed nothing. None where nothing was billed before.
 */
export async function findLateSteps(tx: TenantTransaction, run: BillingRun): Promise<LateStep[]> {
  const { rows } = await tx.query<{ known_from: Date; happened_before: Date }>(
    `WITH before AS (
       SELECT * FROM billing_runs WHERE known_before < $2 AND id <> $1 AND NOT dry_run
     ), latest AS (
       SELECT opened_at FROM before WHERE state = 'completed' AND looked_at IS NOT NULL ORDER BY known_before DESC LIMIT 1
     ), since AS (
       SELECT min(r.known_before) AS known_from FROM before r LEFT JOIN latest ON true
       WHERE r.subscriptions_due IS NOT NULL AND CASE
         WHEN latest.opened_at IS NULL THEN true
         WHEN r.completed_at IS NOT NULL THEN r.completed_at >= latest.opened_at
         ELSE EXISTS (
             SELECT FROM invoices i WHERE i.tenant_id = r.tenant_id AND i.billing_run_id = r.id
               AND i.finalised_at >= latest.opened_at - interval '1 day')
           OR EXISTS (
             SELECT FROM usage_adjustments a WHERE a.tenant_id = r.tenant_id AND a.seal_id = r.seal_id
               AND a.created_at >= latest.opened_at - interval '1 day') END
     )
     SELECT greatest(r.known_before, s.known_from) AS known_from, max(r.as_of) AS happened_before
     FROM before r JOIN since s ON s.known_from IS NOT NULL
     WHERE r.subscriptions_due IS NOT NULL
     GROUP BY 1 ORDER BY 1`,
    [run.id, new Date(run.knownBeforeMs)],
  )
  return toSteps(
    rows.map((row) => ({ knownFromMs: row.known_from.getTime(), happenedBeforeMs: row.happened_before.getTime() })),
    MOST_STEPS,
  )
}

/** Those behind which more is late than behind the ones before, in order; the oldest of too many are taken together. */
export function toSteps(all: readonly LateStep[], most: number): LateStep[] {
  const rising: LateStep[] = []
  for (const step of all) if (step.happenedBeforeMs > (rising.at(-1)?.happenedBeforeMs ?? -Infinity)) rising.push(step)
  const first = rising[0]
  const together = rising[rising.length - most]
  if (first === undefined || together === undefined || together === first) return rising
  return [{ ...together, knownFromMs: first.knownFromMs }, ...rising.slice(rising.length - most + 1)]
}
