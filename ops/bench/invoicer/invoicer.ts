import { openRun } from '../../../invoicer/billing/run/open-run.ts'
import { type RunDeps, runBilling } from '../../../invoicer/billing/run/run-billing.ts'
import { progressInPostgres } from '../../../invoicer/billing/run/runs.postgres.ts'
import type { Progress } from '../../../invoicer/billing/run/steps.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import { openPool } from '../../access/pool.postgres.ts'
import { createLogger } from '../../host/logger.ts'
import { openClickHouse } from '../../stores/clickhouse-http.clickhouse.ts'
import { note } from '../child.ts'
import { type Gauge, ownCpuUs, treeGauge } from '../cpu.ts'
import { ownEnv } from '../database.postgres.ts'
import { startPostgres } from '../embedded-postgres.ts'
import type { Figure, FigureInput } from '../figure.ts'
import { interleave, type Sample, sample, startSample } from '../measure.ts'
import { openBareInvoices } from './floor.postgres.ts'
import { constantUsage, storedUsage } from './usage.ts'
import {
  answerSeals,
  CHUNK_SIZE,
  createRunDeps,
  createTenant,
  LINES,
  type Subscriber,
  subscribeAll,
} from './world.postgres.ts'

const FIRST_MONTH = { year: 2021, month: 0 }
const AFTER_GRACE_MS = 2 * 3_600_000

/** One in so many begins in the middle of a month, and its fee is prorated. */
const PRORATED_ONE_IN = 20
const HALF_A_MONTH_MS = 15 * 86_400_000

const ISSUED = 'until issued'
const PAID = 'until paid'

/**
 * A billing run over many subscriptions with a month due each: a fee and two graduated lines, taxed. Every round bills the
 * month after, in which one in twenty begins and is prorated.
 */
export const invoicer: Figure = async (input) => {
  const { mode, sizes } = input
  const databases = await openDatabases(input)
  const { ownerUrl, pool, store, postgres } = databases
  try {
    const tenantId = await createTenant(pool, ownerUrl)
    const months = Array.from({ length: sizes.warmUps + sizes.rounds + 1 }, (_, index) => monthStart(index))
    const subscribers = subscribersOf(sizes.subscriptions, months.slice(0, -1))
    const subjects = subscribers.map(({ subject }) => subject)
    let month = 0
    let clockMs = monthStart(month)
    const now = () => clockMs
    const usageDeps = { pool, now: Date.now, logger: createLogger() }
    note(`${subjects.length} subscriptions`)
    const deps = createRunDeps(pool, now)
    await subscribeAll(deps.transact, deps, tenantId, subscribers)
    const usage = store ? await storedUsage({ ...usageDeps, store }, tenantId, subjects, months) : constantUsage
    const bare = await openBareInvoices(ownerUrl, CHUNK_SIZE)
    const gauges = { invoicer: ownCpuUs, ...(postgres ? { Postgres: postgres } : {}) }
    const floor = 'bare multi-row unnest insert of the same invoices and lines, as many a transaction'
    const subject = { mode, figure: `invoicer, ${LINES} taxed lines each`, floor, unit: 'invoice' } as const
    const targets = { [`invoicer ${ISSUED}`]: { perSecondAtLeast: 5_000 } }
    note('billing runs')
    const rows = await interleave({ ...subject, targets }, sizes, async () => {
      month++
      const endMs = months[month] ?? 0
      clockMs = endMs + AFTER_GRACE_MS
      const due = subscribers.filter(({ startMs }) => startMs < endMs).length
      let runId = ''
      return {
        product: async () => {
          const billed = await billAll({ ...deps, usage }, tenantId, gauges, due)
          runId = billed.runId
          return billed.used
        },
        floor: async () => {
          const issued = await bare.read(runId)
          if (issued.invoices !== due || issued.lines !== LINES * due)
            throw new Error(`A run issued ${issued.invoices} invoices with ${issued.lines} lines`)
          const used = await sample(gauges, issued.invoices, () => bare.insert(issued))
          return { units: used.units, readings: { ...named(used, ISSUED), ...named(used, PAID) } }
        },
      }
    })
    await bare.close()
    return rows
  } finally {
    await databases.close()
  }
}

function subscribersOf(count: number, months: readonly number[]): Subscriber[] {
  const [first = 0] = months
  return Array.from({ length: count }, (_, index) => {
    const prorated = Math.floor(index / PRORATED_ONE_IN) % months.length
    const startMs = index % PRORATED_ONE_IN === 0 ? (months[prorated] ?? 0) + HALF_A_MONTH_MS : first
    return { subject: `subscriber-${index}`, startMs }
  })
}

async function billAll(deps: Omit<RunDeps, 'sleep'>, tenantId: TenantId, gauges: Record<string, Gauge>, count: number) {
  const { id: runId, knownBeforeMs } = await deps.transact(tenantId, (tx) => openRun(tx, { asOfMs: null }, deps))
  const kept = progressInPostgres(deps.transact, tenantId, runId)
  // Before the clock starts, because counting what a seal covers is the aggregator's work.
  const totals = await deps.usage.identityTotals(tenantId, new Date(knownBeforeMs))
  const sleep = () => answerSeals(deps.transact, tenantId, totals)
  const used = await startSample(gauges)
  let issued: Sample | undefined
  const progress: Progress = async (step) => {
    if (step === 'attempt') issued ??= await used(count)
    await kept(step)
  }
  await runBilling({ ...deps, sleep }, progress, tenantId, runId)
  const paid = await used(count)
  if (!issued) throw new Error('The run issued nothing to pay')
  return { runId, used: { units: count, readings: { ...named(issued, ISSUED), ...named(paid, PAID) } } }
}

function named({ readings }: Sample, phase: string): Sample['readings'] {
  return Object.fromEntries(Object.entries(readings).map(([process, reading]) => [`${process} ${phase}`, reading]))
}

function monthStart(index: number): number {
  return Date.UTC(FIRST_MONTH.year, FIRST_MONTH.month + index, 1)
}

/** Embedded: a Postgres of its own, usage from memory. Servers: a database of its own, usage from ClickHouse. */
async function openDatabases({ folder, servers }: FigureInput) {
  const embedded = servers ? undefined : await startPostgres(folder)
  const env = servers ? await ownEnv(servers) : undefined
  const ownerUrl = embedded?.url ?? env?.DATABASE_URL ?? ''
  const pool = openPool(ownerUrl, 20, () => undefined)
  const store = env ? openClickHouse(env.CLICKHOUSE_URL) : undefined
  const close = async () => {
    await pool.end()
    await store?.close()
    await embedded?.stop()
  }
  return { ownerUrl, pool, store, postgres: treeGauge(embedded?.pid ?? servers?.pids.postgres), close }
}
