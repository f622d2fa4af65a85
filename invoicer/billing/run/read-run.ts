import { Problem } from '../../../schemas/http/problem.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import type { BillingRunReport } from './billing-run.ts'
import { findRunReport } from './run-report.postgres.ts'

/** @throws Problem not_found. Another tenant's run is not there either. */
export async function readRun(tx: TenantTransaction, id: string): Promise<BillingRunReport> {
  const run = await findRunReport(tx, id)
  if (run === undefined) throw new Problem('not_found', 'There is no billing run with this id.')
  return run
}
