import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import type { Registry } from 'prom-client'
import type { App, TenantId } from '../schemas/http/door.ts'
import { listTenants, withTenant } from '../schemas/postgres/tenant.postgres.ts'
import { SEAL_WAIT, type SealWait } from './billing/run/await-seal.ts'
import { type ErrorLogger, keepRuns } from './billing/run/keep-runs.ts'
import { progressInPostgres } from './billing/run/runs.postgres.ts'
import type { Progress } from './billing/run/steps.ts'
import type { UsageReader } from './billing/usage.ts'
import { collectPayments } from './collection/payments/collect-payments.ts'
import { manualGateway } from './collection/payments/gateway.manual.ts'
import type { Gateway } from './collection/payments/gateway.ts'
import { billingEventsDoor } from './doors/rest/billing-events.ts'
import { billingRunsDoor } from './doors/rest/billing-runs.ts'
import { customersDoor } from './doors/rest/customers.ts'
import { invoicesDoor } from './doors/rest/invoices.ts'
import { plansDoor } from './doors/rest/plans.ts'
import { subscriptionsDoor } from './doors/rest/subscriptions.ts'
import { announceTo, type EventLogger } from './outbox/announce.prometheus.ts'
import { scheduleTicks } from './schedule.cron.ts'
import type { Transact } from './transaction.ts'

export type InvoicerDeps = {
  app: App
  pool: Pool
  usage: UsageReader
  logger: EventLogger & ErrorLogger
  metrics: Registry
  now: () => number
  /** UUIDv7: lists are in the order of ids. */
  newId: () => string
  /** When runs start by themselves (UTC); undefined: only on demand. */
  cron: string | undefined
  /** Where a run tells which step begins; by default billing_runs.step. */
  progressOf?: (tenantId: TenantId, runId: string) => Progress
  gateway?: Gateway
  sealWait?: SealWait
  /** Subscriptions, and invoices to pay, per transaction. */
  chunkSize?: number
}
export type Invoicer = { start: () => Promise<void>; stop: () => Promise<void> }

/** So many pay for a reading of usage and the round trips; their transaction takes a fraction of a second. */
const CHUNK_SIZE = 1_000

/** The invoicer role: its doors are on `app` at once; runs go on from `start` until `stop`. */
export function buildInvoicer(deps: InvoicerDeps): Invoicer {
  const transact: Transact = (tenantId, work) => withTenant(deps.pool, tenantId, work)
  const stopping = new AbortController()
  const shared = {
    transact,
    now: deps.now,
    newId: deps.newId,
    announce: announceTo(deps.logger, deps.metrics),
    chunkSize: deps.chunkSize ?? CHUNK_SIZE,
  }
  const gateway = deps.gateway ?? manualGateway
  const collectDeps = { ...shared, gateway, stopping: () => stopping.signal.aborted }
  const keeper = keepRuns(
    {
      ...shared,
      usage: deps.usage,
      logger: deps.logger,
      sealWait: deps.sealWait ?? SEAL_WAIT,
      sleep: (ms) => sleep(ms),
      collect: (tenantId, runId, progress) => collectPayments(collectDeps, progress, tenantId, runId),
      progressOf: deps.progressOf ?? ((tenantId, runId) => progressInPostgres(transact, tenantId, runId)),
      tenantIds: async () => (await listTenants(deps.pool)).map((tenant) => tenant.tenantId),
    },
    stopping.signal,
  )
  const startRun = (tenantId: TenantId, runId: string) => void keeper.continueRun(tenantId, runId)
  for (const door of [customersDoor, plansDoor, subscriptionsDoor, invoicesDoor, billingEventsDoor]) {
    door(deps.app, shared)
  }
  billingRunsDoor(deps.app, { ...shared, startRun })

  let ticks: { stop: () => Promise<void> } | undefined
  return {
    start: async () => {
      // In the background: a run may wait for its seal, and the aggregator may start after this.
      void keeper.resumeRuns()
      if (deps.cron !== undefined) ticks = scheduleTicks(deps.cron, keeper.tick)
    },
    stop: async () => {
      stopping.abort()
      await ticks?.stop()
      await keeper.stop()
    },
  }
}
