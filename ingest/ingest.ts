import type { Pool } from 'pg'
import type { Logger } from 'pino'
import { Counter, type Registry } from 'prom-client'
import type { ClickHouseStore } from '../schemas/clickhouse/store.ts'
import type { App, TenantId } from '../schemas/http/door.ts'
import { withTenant } from '../schemas/postgres/tenant.postgres.ts'
import { ADMITTED_BYTES, createAdmission } from './accept/admission.ts'
import { createConfigCache } from './accept/config.ts'
import { createUsageRecorder, type UsageRecorder } from './accept/record.ts'
import { createBatcher, DEFAULT_BATCHER_LIMITS } from './append/batcher.ts'
import type { EventLogWriter } from './append/event-log.ts'
import type { BillingCache } from './billing-cache/billing-cache.ts'
import { createCorrectionCounter } from './corrections/corrected.prometheus.ts'
import { backfillsDoor } from './doors/backfills.http.ts'
import { billingReadsDoor } from './doors/billing-reads.http.ts'
import { billingUsageDoor } from './doors/billing-usage.http.ts'
import { correctionsDoor } from './doors/corrections.http.ts'
import { entitlementsDoor } from './doors/entitlements.http.ts'
import { eventTypesDoor } from './doors/event-types.http.ts'
import { eventsDoor } from './doors/events.http.ts'
import { kafkaInputsDoor } from './doors/kafka/inputs.http.ts'
import { type InputKeeper, keepInputs } from './doors/kafka/keep-inputs.ts'
import type { InputSource } from './doors/kafka/read-input.kafka.ts'
import { openmeterEventsDoor } from './doors/openmeter/events.http.ts'
import { quotaDoor } from './doors/quota.http.ts'
import { quotaAlertsDoor } from './doors/quota-alerts.http.ts'
import { quotaChecksDoor } from './doors/quota-checks.http.ts'
import { quotaConsumeDoor } from './doors/quota-consume.http.ts'
import { quotaHoldsDoor } from './doors/quota-holds.http.ts'
import { settingsDoor } from './doors/settings.http.ts'
import { usageRecordsDoor } from './doors/usage-records.http.ts'
import { webhooksDoor } from './doors/webhooks.http.ts'
import { subjectsOfCustomers } from './quota/customer-subjects.postgres.ts'
import { keepSweeping } from './quota/keep-sweeping.ts'
import { createCounterLoader } from './quota/loader.ts'
import type { QuotaStore } from './quota/quota-store.ts'
import { reconcileCounters } from './quota/reconcile/reconcile.ts'
import type { AlertAnswer } from './quota/thresholds/alert.ts'
import type { LookDeps } from './quota/thresholds/look.ts'
import { lookInPassing } from './quota/thresholds/look-in-passing.ts'
import { createThresholdWatch } from './quota/thresholds/watch.ts'
import { keepDelivering } from './webhooks/keep-delivering.ts'
import type { MailSettings } from './webhooks/mail-settings.ts'
import { createMailer } from './webhooks/send-mail.smtp.ts'

export type IngestDeps = {
  app: App
  withRawBodies: (app: App, register: (scope: App) => void) => void
  pool: Pool
  writer: EventLogWriter
  quota: QuotaStore
  billingCache: BillingCache
  usage: ClickHouseStore
  enforceQuota: boolean
  /** The plan whose entitlements hold for subjects without a subscription (HC-4). */
  defaultPlan: string
  /** Webhooks may go to private addresses, and without TLS. */
  allowPrivateWebhooks?: boolean
  /** The mail server that webhooks may go through. */
  mail?: MailSettings | undefined
  /** Where tenants' own topics are, and what their names begin with. */
  kafkaInputs?: (InputSource & { prefix: string }) | undefined
  logger: Logger
  metrics: Registry
  now: () => number
}

export type Ingest = {
  start(): Promise<void>
  /** Waits until everything accepted is in the log. Call it when no request comes any more. */
  stop(): Promise<void>
  /** Configuration of a tenant, or of all, changed elsewhere. */
  configChanged(table: string, tenant: TenantId): void
}

/** What the edge keeps of a tenant comes from these. */
const CONFIG_TABLES = ['event_types', 'meters', 'quota_limits', 'entitlements', 'tenant_settings']

export function buildIngest(deps: IngestDeps): Ingest {
  const { app, pool, writer, quota, usage, logger, metrics, now } = deps
  const config = createConfigCache({ pool, now, defaultPlan: deps.defaultPlan })
  const batcher = createBatcher(writer, DEFAULT_BATCHER_LIMITS)
  const subjectsOf = (tenant: TenantId, customerIds: readonly string[]) =>
    withTenant(pool, tenant, (tx) => subjectsOfCustomers(tx, customerIds))
  const loadCounters = createCounterLoader({ quota, usage, subjectsOf, writer, drain: batcher.drain, now })
  const recorder = usageRecorder(deps)
  const alerts = watchThresholds(deps, { config, loadCounters })
  const accept = {
    config,
    batcher,
    partitions: writer.partitions,
    quota,
    loadCounters,
    enforceQuota: deps.enforceQuota,
    thresholds: alerts.watch,
    now,
  }
  const admission = createAdmission(ADMITTED_BYTES)
  eventsDoor(app, { accept, recorder, admission, withRawBodies: deps.withRawBodies })
  eventTypesDoor(app, { pool, config, now })
  quotaDoor(app, { pool, config, now })
  entitlementsDoor(app, { pool, config, now })
  const quotas = { ...accept, pool, accept, recorder, logger }
  quotaChecksDoor(app, quotas)
  quotaHoldsDoor(app, quotas)
  quotaConsumeDoor(app, quotas)
  billingUsageDoor(app, quotas)
  billingReadsDoor(app, { ...quotas, billingCache: deps.billingCache, defaultPlan: deps.defaultPlan })
  const sweeping = keepSweeping(quota, logger, now)
  const counters = lookInPassing(quota, { config, subjectsOf, watch: alerts.watch, logger })
  const reconciling = reconcileCounters({ pool, quota: counters, usage, subjectsOf, writer, logger, metrics, now })
  usageRecordsDoor(app, { pool, accept, recorder })
  settingsDoor(app, { pool, config, now })
  openmeterEventsDoor(app, { pool, accept, recorder, admission, withRawBodies: deps.withRawBodies })
  const corrected = createCorrectionCounter(metrics)
  correctionsDoor(app, { config, batcher, partitions: writer.partitions, now, pool, usage, writer, corrected })
  const reverts = backfillsDoor(app, { ...deps, accept, recorder, admission })
  const inputs = kafkaDoor(deps, { accept, recorder, admission })
  return {
    start: async () => {
      // A server that is new begins to remember here, and not with the first request, which would wait for that.
      void quota.memory(0).catch(() => undefined)
      reverts.start()
      sweeping.start()
      reconciling.start()
      alerts.delivering.start()
      inputs?.start()
    },
    stop: async () => {
      await inputs?.stop()
      await reverts.stop()
      await reconciling.stop()
      await sweeping.stop()
      await batcher.drain()
      await Promise.all([alerts.watch.stop(), alerts.delivering.stop()])
      await quota.close()
    },
    configChanged: (table, tenant) => {
      if (table === '*' || table === 'kafka_inputs') inputs?.look()
      if (table === '*') config.invalidate()
      else if (CONFIG_TABLES.includes(table)) config.invalidate(tenant)
    },
  }
}

function usageRecorder({ logger, metrics }: IngestDeps): UsageRecorder {
  return createUsageRecorder({
    logger,
    usageTotal: new Counter({
      name: 'billing_usage_total',
      help: 'Usage events by outcome at the edge',
      labelNames: ['tenant', 'outcome'],
      registers: [metrics],
    }),
    quotaExceededTotal: new Counter({
      name: 'billing_quota_exceeded_total',
      help: 'Usage events refused because a quota was used up',
      labelNames: ['tenant'],
      registers: [metrics],
    }),
  })
}

/** Levels of quotas that are reached, and the webhooks that tell of them. */
function watchThresholds(deps: IngestDeps, means: Pick<LookDeps, 'config' | 'loadCounters'>) {
  const { app, pool, quota, allowPrivateWebhooks: allowPrivate = false, mail, logger, metrics, now } = deps
  const alertsTotal = new Counter({
    name: 'billing_quota_alerts_total',
    help: 'Levels of quotas that were reached and told of',
    registers: [metrics],
  })
  const attempts = new Counter({
    name: 'billing_webhook_attempts_total',
    help: 'Attempts to deliver a webhook',
    labelNames: ['outcome'],
    registers: [metrics],
  })
  const attempted = (outcome: string) => attempts.inc({ outcome })
  const mailer = mail && createMailer(mail)
  const delivering = keepDelivering({ pool, now, random: Math.random, allowPrivate, mailer, attempted, logger })
  const fired = (tenant: TenantId, alerts: readonly AlertAnswer[]) => {
    alertsTotal.inc(alerts.length)
    for (const { subject, customer, feature, meter, level, limit, used } of alerts) {
      const whose = { tenant_id: tenant, user_id: subject, customer }
      const what = { feature, usage_type: meter, level, limit, used }
      logger.info({ service: 'ingest', event: 'quota_threshold_reached', ...whose, ...what })
    }
    delivering.look()
  }
  const watch = createThresholdWatch({ ...means, pool, quota, now, logger, fired })
  quotaAlertsDoor(app, { pool })
  webhooksDoor(app, { pool, now, allowPrivate, sendsMail: mail !== undefined, queued: delivering.look })
  return { watch, delivering }
}

/** Kafka as a door: topics that tenants' producers write. Without Kafka only its routes are there. */
function kafkaDoor(
  { app, pool, kafkaInputs, logger, metrics, now }: IngestDeps,
  means: Pick<Parameters<typeof keepInputs>[0], 'accept' | 'recorder' | 'admission'>,
): InputKeeper | undefined {
  const records = new Counter({
    name: 'billing_kafka_input_records_total',
    help: 'Records of Kafka inputs: read, or rejected because they could not be',
    labelNames: ['tenant', 'outcome'],
    registers: [metrics],
  })
  const keeper = kafkaInputs && keepInputs({ ...means, pool, source: kafkaInputs, records, logger, now })
  kafkaInputsDoor(app, { pool, prefix: kafkaInputs?.prefix, changed: () => keeper?.look(), now })
  return keeper
}
