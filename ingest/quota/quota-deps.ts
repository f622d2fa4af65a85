import type { Pool } from 'pg'
import type { Caller } from '../../schemas/http/door.ts'
import { Problem } from '../../schemas/http/problem.ts'
import { withTenant } from '../../schemas/postgres/tenant.postgres.ts'
import { visibleSubjects } from '../../schemas/postgres/visible.postgres.ts'
import type { ConfigCache } from '../accept/config.ts'
import type { CounterKey, QuotaStore } from './quota-store.ts'

/** What operations on quotas work with. */
export type QuotaDeps = {
  pool: Pool
  config: Pick<ConfigCache, 'get'>
  quota: QuotaStore
  loadCounters: (counters: readonly CounterKey[]) => Promise<void>
  /** False: nothing is refused. */
  enforceQuota: boolean
  now: () => number
}

/** Whether the caller's scope comes to a subject. What is not said to be seen is not. */
export async function visibleTo({ pool }: Pick<QuotaDeps, 'pool'>, caller: Caller) {
  const { scope, tenantId } = caller
  if (scope === 'everything') return () => true
  const visible = await withTenant(pool, tenantId, (tx) => visibleSubjects(tx, scope))
  return (subject: string) => visible === 'everything' || visible.includes(subject)
}

/** Fails unless the caller's scope comes to all of these: alike for subjects of others and for those of nobody. */
export async function requireVisible(
  deps: Pick<QuotaDeps, 'pool'>,
  caller: Caller,
  subjects: readonly string[],
): Promise<void> {
  const isVisible = await visibleTo(deps, caller)
  if (!subjects.every(isVisible))
    throw new Problem('out_of_scope', 'A key with a scope asks and consumes for its own subjects only.')
}
