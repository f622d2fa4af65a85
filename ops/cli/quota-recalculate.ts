import type { Pool } from 'pg'
import { subjectsOfCustomers } from '../../ingest/quota/customer-subjects.postgres.ts'
import { counterId } from '../../ingest/quota/quota-store.ts'
import type { CompareDeps } from '../../ingest/quota/reconcile/compare.ts'
import { explain } from '../../ingest/quota/reconcile/explain.ts'
import { createReconciler, type Difference } from '../../ingest/quota/reconcile/reconciler.ts'
import { type Told, toldOf } from '../../ingest/quota/reconcile/told.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { listTenants, withTenant } from '../../schemas/postgres/tenant.postgres.ts'

export type RecalculateDeps = Omit<CompareDeps, 'subjectsOf' | 'failed'> & {
  pool: Pool
  stdout: NodeJS.WritableStream
  stderr: NodeJS.WritableStream
}
export type RecalculateOptions = { tenant: TenantId | undefined; dryRun: boolean; json: boolean; settleMs: number }

type Line = { tenant: string; cause: string | undefined; state: Difference['state'] } & Told
type Sums = { counters: number; differ: number; corrected: number }

/** Usage may have much to catch up with. */
const WAIT_MS = 120_000

/** Compares twice, tells what both saw, and corrects it unless it is only to be told. Returns the exit code. */
export async function recalculateQuotas(deps: RecalculateDeps, options: RecalculateOptions): Promise<number> {
  const { pool, stdout, stderr } = deps
  const { tenant, dryRun, json, settleMs } = options
  let failures = 0
  const failed = (error: unknown) => {
    failures++
    stderr.write(
      `Some counters could not be compared or corrected: ${error instanceof Error ? error.message : String(error)}\n`,
    )
  }
  const subjectsOf: CompareDeps['subjectsOf'] = (tenantId, customerIds) =>
    withTenant(pool, tenantId, (tx) => subjectsOfCustomers(tx, customerIds))
  const reconciler = createReconciler(
    { ...deps, subjectsOf, failed },
    { tenant, settleMs, waitMs: WAIT_MS, standsMs: 0 },
  )
  const slugs = new Map((await listTenants(pool)).map(({ tenantId, slug }) => [tenantId, slug]))
  const first = await reconciler.pass(false)
  if (first.failure !== undefined) throw first.failure
  const pass = await reconciler.pass(!dryRun)
  const isCut = first.cut || pass.cut
  const differences = [...pass.differences.values()].flat()
  // Told without a cause if that cannot be asked for: something may have been corrected.
  const causes = await explain({ ...deps, subjectsOf }, differences).catch((error: unknown) => {
    stderr.write(`Causes are not known: ${error instanceof Error ? error.message : String(error)}\n`)
    return new Map<string, string>()
  })
  const lines = differences.map((one) => lineOf(one, slugs, causes))
  for (const line of lines) stdout.write(`${json ? JSON.stringify(line) : textOf(line, dryRun)}\n`)
  if (pass.failure !== undefined) throw pass.failure
  const corrected = lines.filter(({ state }) => state === 'corrected').length
  const sums: Sums = { counters: pass.counters, differ: lines.length, corrected }
  stdout.write(`${json ? JSON.stringify(sums) : sumsText(sums, dryRun, isCut)}\n`)
  return failures > 0 || isCut || corrected < lines.length ? 1 : 0
}

function lineOf(
  difference: Difference,
  slugs: ReadonlyMap<TenantId, string>,
  causes: ReadonlyMap<string, string>,
): Line {
  const { counter, state } = difference
  const tenant = slugs.get(counter.tenant) ?? String(counter.tenant)
  return { tenant, ...toldOf(difference), state, cause: causes.get(counterId(counter)) }
}

function textOf(line: Line, dryRun: boolean): string {
  const { tenant, subject, customer, meter, starts_at, ends_at, counter, usage, held, difference, cause } = line
  // A subject may hold anything.
  const whose = customer === undefined ? `subject ${JSON.stringify(subject)}` : `customer ${customer}`
  const name = `tenant ${tenant}, ${whose}, meter ${meter}, ${starts_at} to ${ends_at}`
  const said = `counter ${counter ?? 'damaged'}, usage ${usage}, held ${held}`
  return `${name}: ${said}${apartText(difference)}; ${fateOf(line, dryRun)}\n  likely cause: ${cause ?? 'not known'}`
}

function apartText(difference: string | null): string {
  if (difference === null) return ''
  return difference.startsWith('-') ? `: too low by ${difference.slice(1)}` : `: too high by ${difference}`
}

function fateOf({ state }: Line, dryRun: boolean): string {
  if (state === 'corrected') return 'corrected'
  if (dryRun) return 'left as it is'
  return `NOT corrected, ${state === 'changed' ? 'it changed meanwhile' : 'the store refused'}: run this again`
}

function sumsText({ counters, differ, corrected }: Sums, dryRun: boolean, cut: boolean): string {
  const compared = `${counters} ${counters === 1 ? 'counter' : 'counters'}`
  if (differ === 0) return `${compared}: equal to usage`
  const fate = dryRun ? 'nothing was changed' : `${corrected} corrected`
  const more = cut ? '; there are more: run this again' : ''
  return `${compared}, ${differ} ${differ === 1 ? 'differs' : 'differ'}: ${fate}${more}`
}
