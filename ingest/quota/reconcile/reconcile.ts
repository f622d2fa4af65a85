import type { Pool } from 'pg'
import type { Logger } from 'pino'
import type { Registry } from 'prom-client'
import type { TenantId } from '../../../schemas/http/door.ts'
import { listTenants } from '../../../schemas/postgres/tenant.postgres.ts'
import { counterId } from '../quota-store.ts'
import type { CompareDeps } from './compare.ts'
import { createDriftMetrics } from './drift.prometheus.ts'
import { TOO_HIGH_STANDS_MS } from './drift.ts'
import { explain } from './explain.ts'
import { type KeeperDeps, keepReconciling, type ReconcileKeeper } from './keep-reconciling.ts'
import { createReconciler, isCorrected, type Pass } from './reconciler.ts'
import { toldOf } from './told.ts'
import { createTurn } from './turn.postgres.ts'

export type ReconcileDeps = Omit<CompareDeps, 'failed'> & { pool: Pool; logger: Logger; metrics: Registry }

const TIMES = {
  everyMs: 60_000,
  // A request's events are in the log by then, unless the log is slow: what is not is looked at again in a minute.
  settleMs: 2_000,
  waitMs: 10_000,
  standsMs: TOO_HIGH_STANDS_MS,
}
/** Of a pass. The others are in the metrics. */
const MOST_LOGGED = 20

/** Compares quota counters with usage every minute in one process, corrects, and tells what differed (decision 0022). */
export function reconcileCounters(deps: ReconcileDeps, times = TIMES): ReconcileKeeper {
  const metrics = createDriftMetrics(deps.metrics)
  let slugs = new Map<TenantId, string>()
  const slugOf = (tenant: TenantId) => slugs.get(tenant) ?? String(tenant)
  const report = async (pass: Pass): Promise<void> => {
    try {
      slugs = new Map((await listTenants(deps.pool)).map(({ tenantId, slug }) => [tenantId, slug]))
    } finally {
      // What was corrected is told, by the names known before, or by numbers.
      metrics.tell(pass, slugOf)
      await log(deps, pass, slugOf)
    }
  }
  const means: KeeperDeps = {
    turn: createTurn(deps.pool),
    open: (signal, failed) => createReconciler({ ...deps, failed }, { ...times, signal }),
    report,
    forget: metrics.forget,
    logger: deps.logger,
  }
  return keepReconciling(means, times.everyMs)
}

/** What is new, and what was corrected. */
async function log(deps: ReconcileDeps, { differences }: Pass, slugOf: (tenant: TenantId) => string): Promise<void> {
  const told = [...differences.values()].flat().filter((one) => one.isNew || isCorrected(one))
  // Corrections first: what only differs is seen again.
  const all = [...told.filter(isCorrected), ...told.filter((one) => !isCorrected(one))]
  const some = all.slice(0, MOST_LOGGED)
  let causes: ReadonlyMap<string, string> = new Map()
  try {
    causes = await explain(deps, some)
  } finally {
    // Without a cause if that cannot be asked for.
    for (const difference of some) {
      const { counter, state } = difference
      const cause = causes.get(counterId(counter))
      const members = { service: 'ingest', event: 'quota_drift', tenant: slugOf(counter.tenant), state }
      const message = isCorrected(difference) ? 'a quota counter was corrected' : 'a quota counter differs from usage'
      deps.logger.warn({ ...members, ...toldOf(difference), cause }, message)
    }
    const more = all.length - some.length
    if (more > 0) deps.logger.warn({ service: 'ingest', event: 'quota_drift', more }, 'more quota counters differ')
  }
}
