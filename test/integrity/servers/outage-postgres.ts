import type { Run } from '../read-product.ts'
import { startOutageRole } from './outage-role.ts'
import { msUntil, type OutageTenant, type OutageWorld } from './outage-world.ts'
import { awayDuring, lockTable } from './server-control.ts'

/** A run stands still at a statement of this kind when Postgres is killed under it. */
export type RunMoment = { table: string; statement: RegExp }
export const ISSUING: RunMoment = { table: 'invoices', statement: /INSERT INTO invoices/ }
export const COLLECTING: RunMoment = { table: 'payments', statement: /INSERT INTO payments/ }

/**
 * Opens a run, waits until it stands in the middle of a transaction, and shuts Postgres down immediately. Two invoicers
 * live through it; the second one has a schedule, which is what continues runs. Answers how the run ended, and figures.
 */
export async function killPostgresInRun(world: OutageWorld, tenant: OutageTenant, moment: RunMoment) {
  const { stack } = world
  const lock = await lockTable(stack.postgres.url, moment.table)
  const opened = await tenant.api.call<Run>('POST', '/billing-runs', {})
  await msUntil(async () => (await lock.waiting()).some((statement) => moment.statement.test(statement)))
  const scheduled = await startOutageRole(world, { role: 'invoicer', cron: '*/3 * * * * *' })
  const startMs = await awayDuring(stack.postgres, () => lock.release())
  let run: Run | undefined
  const completedMs = await msUntil(async () => {
    run = await tenant.api.call<Run>('GET', `/billing-runs/${opened.id}`).catch(() => undefined)
    return run?.state === 'completed'
  })
  await scheduled.stop()
  return { state: run?.state, parked: run?.parked, figures: { startMs, completedMs } }
}
