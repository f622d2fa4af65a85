import { setTimeout as sleep } from 'node:timers/promises'
import type { Pool } from 'pg'
import type { Registry } from 'prom-client'
import type { App, TenantId } from '../schemas/http/door.ts'
import { listTenants, withTenant } from '../schemas/postgres/tenant.postgres.ts'
import { tenantsWithDueBudgets } from './billing/budgets/budgets.postgres.ts'
import { keepWatching } from './billing/budgets/keep-watching.ts'
import { type LookDeps, watchBudgets } from './billing/budgets/look-at-spend.ts'
import { createWatchMetrics } from './billing/budgets/watching.prometheus.ts'
import type { EventReader } from './billing/explain/events.ts'
import { SEAL_WAIT, type SealWait } from './billing/run/await-seal.ts'
import { type ErrorLogger, keepRuns } from './billing/run/keep-runs.ts'
import { progressInPostgres } from './billing/run/runs.postgres.ts'
import type { Progress } from './billing/run/steps.ts'
import { type TaxEngine, taxBySeller } from './billing/tax/tax-port.ts'
import type { UsageReader } from './billing/usage.ts'
import { creditChores } from './collection/credits/chores.ts'
import { tenantsWithExpiredCredit } from './collection/credits/credits.postgres.ts'
import { keepDoing } from './collection/credits/keep-doing.ts'
import { watchCredit } from './collection/credits/look-at-credit.ts'
import { tenantsWithCreditToRenew } from './collection/credits/renewals.postgres.ts'
import { tenantsWithDueCredit } from './collection/credits/thresholds.postgres.ts'
import { collectionForBilling } from './collection/for-billing.ts'
import { besideChore } from './collection/payments/collect-beside.ts'
import { collectPayments } from './collection/payments/collect-payments.ts'
import { manualGateway } from './collection/payments/gateway.manual.ts'
import type { Gateway } from './collection/payments/gateway.ts'
import { tenantsWithUnpaidBeside } from './collection/payments/payments.postgres.ts'
import { tenantsWithOpenPurchases } from './collection/top-ups/purchases.postgres.ts'
import { couponsDoor } from './doors/rest/catalog/coupons.ts'
import { entitiesDoor } from './doors/rest/catalog/entities.ts'
import { planListingsDoor } from './doors/rest/catalog/plan-listings.ts'
import { plansDoor } from './doors/rest/catalog/plans.ts'
import { productsDoor } from './doors/rest/catalog/products.ts'
import { taxRatesDoor } from './doors/rest/catalog/tax-rates.ts'
import { creditAlertsDoor } from './doors/rest/credits/credit-alerts.ts'
import { creditPurchasesDoor } from './doors/rest/credits/credit-purchases.ts'
import { creditSchedulesDoor } from './doors/rest/credits/credit-schedules.ts'
import { creditThresholdsDoor } from './doors/rest/credits/credit-thresholds.ts'
import { creditTopUpsDoor } from './doors/rest/credits/credit-top-ups.ts'
import { creditsDoor } from './doors/rest/credits/credits.ts'
import { balanceDoor } from './doors/rest/customers/balance.ts'
import { customersDoor } from './doors/rest/customers/customers.ts'
import { discountsDoor } from './doors/rest/customers/discounts.ts'
import { creditNotesDoor } from './doors/rest/invoices/credit-notes.ts'
import { explainDoor } from './doors/rest/invoices/explain.ts'
import { invoiceChangesDoor } from './doors/rest/invoices/invoice-changes.ts'
import { invoiceItemsDoor } from './doors/rest/invoices/invoice-items.ts'
import { invoiceSettingsDoor } from './doors/rest/invoices/invoice-settings.ts'
import { invoicesDoor } from './doors/rest/invoices/invoices.ts'
import { oneOffInvoicesDoor } from './doors/rest/invoices/one-off-invoices.ts'
import { billingEventsDoor } from './doors/rest/runs/billing-events.ts'
import { billingRunReviewDoor } from './doors/rest/runs/billing-run-review.ts'
import { billingRunSettingsDoor } from './doors/rest/runs/billing-run-settings.ts'
import { billingRunsDoor } from './doors/rest/runs/billing-runs.ts'
import { budgetsDoor } from './doors/rest/subscriptions/budgets.ts'
import { spendAlertsDoor } from './doors/rest/subscriptions/budgets-alerts.ts'
import { contractTermsDoor } from './doors/rest/subscriptions/contract-terms.ts'
import { draftsDoor } from './doors/rest/subscriptions/drafts.ts'
import { previewDoor } from './doors/rest/subscriptions/preview.ts'
import { progressiveBillingDoor } from './doors/rest/subscriptions/progressive-billing.ts'
import { subscriptionsDoor } from './doors/rest/subscriptions/subscriptions.ts'
import { announceTo, type EventLogger } from './outbox/announce.prometheus.ts'
import { scheduleTicks } from './schedule.cron.ts'
import type { Transact } from './transaction.ts'

export type InvoicerDeps = {
  app: App
  pool: Pool
  usage: UsageReader
  /** What was sent, past the rollups. */
  events: EventReader
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
  /** For legal entities whose tax Stripe knows. */
  stripeTax?: TaxEngine | undefined
  sealWait?: SealWait
  /** Subscriptions, and invoices to pay, per transaction. */
  chunkSize?: number
}
export type Invoicer = { start: () => Promise<void>; stop: () => Promise<void> }

/** So many pay for a reading of usage and the round trips; their transaction takes a fraction of a second. */
const CHUNK_SIZE = 1_000

const DOORS = [
  customersDoor,
  entitiesDoor,
  taxRatesDoor,
  creditsDoor,
  creditSchedulesDoor,
  creditThresholdsDoor,
  creditAlertsDoor,
  productsDoor,
  plansDoor,
  planListingsDoor,
  subscriptionsDoor,
  contractTermsDoor,
  couponsDoor,
  discountsDoor,
  invoicesDoor,
  invoiceChangesDoor,
  invoiceSettingsDoor,
  invoiceItemsDoor,
  creditNotesDoor,
  balanceDoor,
  billingEventsDoor,
  billingRunReviewDoor,
  billingRunSettingsDoor,
  budgetsDoor,
  progressiveBillingDoor,
  draftsDoor,
  spendAlertsDoor,
]

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
    tax: taxBySeller(deps.stripeTax),
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
      ...collectionForBilling(deps),
      collect: (tenantId, runId, progress) => collectPayments(collectDeps, progress, tenantId, runId),
      progressOf: deps.progressOf ?? ((tenantId, runId) => progressInPostgres(transact, tenantId, runId)),
      tenantIds: async () => (await listTenants(deps.pool)).map((tenant) => tenant.tenantId),
    },
    stopping.signal,
  )
  const startRun = (tenantId: TenantId, runId: string) => void keeper.continueRun(tenantId, runId)
  const watchings = watchingsOf(deps, { ...shared, gateway }).map((watch) => keepWatching(watch, stopping.signal))
  const chores = creditChores({
    ...shared,
    gateway,
    tenantsToCharge: (atMs) => tenantsWithOpenPurchases(deps.pool, atMs),
    tenantsToRenew: (atMs) => tenantsWithCreditToRenew(deps.pool, atMs),
    tenantsToExpire: (atMs) => tenantsWithExpiredCredit(deps.pool, atMs),
  })
  const charging = besideChore(collectDeps, (untilMs) => tenantsWithUnpaidBeside(deps.pool, untilMs))
  const keepingCredit = keepDoing([...chores, charging], { now: deps.now, logger: deps.logger }, stopping.signal)
  for (const door of DOORS) door(deps.app, shared)
  creditTopUpsDoor(deps.app, { ...shared, gateway })
  creditPurchasesDoor(deps.app, { ...shared, gateway })
  oneOffInvoicesDoor(deps.app, { ...collectDeps, ...collectionForBilling(deps) })
  previewDoor(deps.app, { ...shared, usage: deps.usage })
  explainDoor(deps.app, { ...shared, usage: deps.usage, events: deps.events })
  billingRunsDoor(deps.app, { ...shared, startRun })

  let ticks: { stop: () => Promise<void> } | undefined
  return {
    start: async () => {
      // In the background: a run may wait for its seal, and the aggregator may start after this.
      void keeper.resumeRuns()
      for (const watching of watchings) watching.start()
      keepingCredit.start()
      if (deps.cron !== undefined) ticks = scheduleTicks(deps.cron, keeper.tick)
    },
    stop: async () => {
      stopping.abort()
      await ticks?.stop()
      await Promise.all(watchings.map((watching) => watching.stop()))
      await keepingCredit.stop()
      await keeper.stop()
    },
  }
}

/** What is looked at every minute. */
function watchingsOf(deps: InvoicerDeps, shared: Omit<LookDeps, 'usage'> & { gateway: Gateway }) {
  const metricsOf = createWatchMetrics(deps.metrics)
  const looking = { ...shared, usage: deps.usage }
  const watched = { now: deps.now, logger: deps.logger }
  return [
    {
      ...watched,
      watch: watchBudgets(looking),
      metrics: metricsOf('budget'),
      tenantsDue: (atMs: number) => tenantsWithDueBudgets(deps.pool, atMs),
    },
    {
      ...watched,
      watch: watchCredit(looking),
      metrics: metricsOf('credit'),
      tenantsDue: (atMs: number) => tenantsWithDueCredit(deps.pool, atMs),
    },
  ]
}
