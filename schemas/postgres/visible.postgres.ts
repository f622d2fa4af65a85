import type { Scope, Visible } from '../http/scope.ts'
import type { TenantTransaction } from './tenant.postgres.ts'

/** Whose usage a scope comes to now: subjects that became the customer's a moment ago are among them. */
export async function visibleSubjects(tx: TenantTransaction, scope: Scope): Promise<Visible> {
  if (scope === 'everything') return scope
  if ('subjects' in scope) return scope.subjects
  const { rows } = await tx.query<{ subject: string }>(
    'SELECT subject FROM customer_subjects WHERE customer_id = $1 ORDER BY subject',
    [scope.customer],
  )
  return rows.map((row) => row.subject)
}
