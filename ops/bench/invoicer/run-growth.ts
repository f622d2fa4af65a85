import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { openRun } from '../../../invoicer/billing/run/open-run.ts'
import { runBilling } from '../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../invoicer/billing/run/runs.postgres.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { openPool } from '../../access/pool.postgres.ts'
import { note } from '../child.ts'
import { ownCpuUs, treeGauge } from '../cpu.ts'
import { startPostgres } from '../embedded-postgres.ts'
import type { Fact } from '../fact.ts'
import type { Figure } from '../figure.ts'
import { startSample } from '../measure.ts'
import { analyze, copySubscriber, countIssued } from './fill.postgres.ts'
import { constantUsage } from './usage.ts'
import { answerSeals, createRunDeps, createTenant, LINES, subscribeAll } from './world.postgres.ts'

const START_MS = Date.UTC(2021, 0, 1)
/** One in twenty begins in the middle of the month: its fee is prorated. */
const PRORATED_ONE_IN = 20
const IN_THE_MIDDLE_MS = START_MS + 15 * 86_400_000
const DUE_MS = Date.UTC(2021, 1, 1) + 2 * 3_600_000
const MB = 1024 ** 2
const LOOK_EVERY_MS = 50

/** One whole billing run over ever more subscriptions, each in a Postgres of its own: what an invoice costs, and memory. */
export const runGrowth: Figure = async ({ mode, folder, sizes }) => {
  const facts: Fact[] = []
  for (const count of sizes.runSubscriptions) {
    note(`a run over ${count} subscriptions`)
    const own = join(folder, String(count))
    mkdirSync(own, { mode: 0o755 })
    const measured = await measureRun(own, count)
    const of = `${count.toLocaleString('en')} subscriptions, ${LINES} taxed lines each`
    const detail = { subscriptions: count }
    const fact = (what: string, value: number, unit: string, target?: string) =>
      facts.push({
        mode,
        figure: 'billing run',
        what: `${of}: ${what}`,
        value,
        unit,
        detail,
        ...(target ? { target } : {}),
      })
    fact('issued', measured.perSecond, 'invoices/s', '≥ 5,000/s')
    fact('CPU of an invoice, invoicer', measured.ownUs, 'µs')
    fact('CPU of an invoice, Postgres', measured.postgresUs, 'µs')
    fact('most memory of the invoicer', measured.peakBytes / MB, 'MB', '< 400 MB')
  }
  return facts
}

async function measureRun(folder: string, count: number) {
  const postgres = await startPostgres(folder)
  const pool = openPool(postgres.url, 20, () => undefined)
  try {
    const tenantId = await createTenant(pool, postgres.url)
    let clockMs = START_MS
    const deps = createRunDeps(pool, () => clockMs)
    await fill(deps, tenantId, count)
    await analyze(postgres.url)
    clockMs = DUE_MS
    const { id: runId } = await deps.transact(tenantId, (tx) => openRun(tx, { asOfMs: null }, deps))
    const kept = progressInPostgres(deps.transact, tenantId, runId)
    const totals = await constantUsage.identityTotals(tenantId, new Date(clockMs))
    const sleep = () => answerSeals(deps.transact, tenantId, totals)
    let peakBytes = 0
    const look = () => {
      peakBytes = Math.max(peakBytes, process.memoryUsage.rss())
    }
    const watch = setInterval(look, LOOK_EVERY_MS)
    const used = await startSample({ own: ownCpuUs, postgres: treeGauge(postgres.pid) ?? (() => Number.NaN) })
    const startedMs = performance.now()
    // What is issued is measured, and not collected: payments are another figure.
    const outcome = await runBilling(
      { ...deps, usage: constantUsage, sleep, collect: async () => true },
      kept,
      tenantId,
      runId,
    ).finally(() => clearInterval(watch))
    look()
    const seconds = (performance.now() - startedMs) / 1000
    const { readings } = await used(count)
    const issued = await deps.transact(tenantId, (tx) => countIssued(tx, runId))
    if (outcome !== 'completed' || issued.invoices !== count || issued.lines !== LINES * count)
      throw new Error(
        `The run ${outcome}: ${issued.invoices} invoices with ${issued.lines} lines of ${count} subscriptions`,
      )
    const each = (cpuUs = Number.NaN) => cpuUs / count
    return {
      perSecond: count / seconds,
      ownUs: each(readings.own?.cpuUs),
      postgresUs: each(readings.postgres?.cpuUs),
      peakBytes,
    }
  } finally {
    await pool.end()
    await postgres.stop()
  }
}

/** Two of them as a user makes them, the rest like these. */
async function fill(deps: ReturnType<typeof createRunDeps>, tenantId: TenantId, count: number): Promise<void> {
  const models = [
    { subject: 'whole', startMs: START_MS },
    { subject: 'prorated', startMs: IN_THE_MIDDLE_MS },
  ]
  await subscribeAll(deps.transact, deps, tenantId, models)
  const copies = Array.from({ length: count - models.length }, (_, index) => `subscriber-${index}`)
  const isProrated = (_: string, index: number) => (index + models.length) % PRORATED_ONE_IN === 0
  const inTenant = <T>(work: (tx: TenantTransaction) => Promise<T>) => deps.transact(tenantId, work)
  await copySubscriber(inTenant, 'prorated', copies.filter(isProrated))
  await copySubscriber(
    inTenant,
    'whole',
    copies.filter((copy, index) => !isProrated(copy, index)),
  )
}
