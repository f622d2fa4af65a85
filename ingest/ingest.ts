import type { Pool } from 'pg'
import type { Logger } from 'pino'
import { Counter, type Registry } from 'prom-client'
import type { ClickHouseStore } from '../schemas/clickhouse/store.ts'
import type { App, TenantId } from '../schemas/http/door.ts'
import { ADMITTED_BYTES, createAdmission } from './accept/admission.ts'
import { createConfigCache } from './accept/config.ts'
import { createUsageRecorder } from './accept/record.ts'
import { createBatcher, DEFAULT_BATCHER_LIMITS } from './append/batcher.ts'
import type { EventLogWriter } from './append/event-log.ts'
import { createCorrectionCounter } from './corrections/corrected.prometheus.ts'
import { backfillsDoor } from './doors/backfills.http.ts'
import { correctionsDoor } from './doors/corrections.http.ts'
import { eventTypesDoor } from './doors/event-types.http.ts'
import { eventsDoor } from './doors/events.http.ts'
import { kafkaInputsDoor } from './doors/kafka/inputs.http.ts'
import { type InputKeeper, keepInputs } from './doors/kafka/keep-inputs.ts'
import type { InputSource } from './doors/kafka/read-input.kafka.ts'
import { openmeterEventsDoor } from './doors/openmeter/events.http.ts'
import { quotaDoor } from './doors/quota.http.ts'
import { settingsDoor } from './doors/settings.http.ts'
import { usageRecordsDoor } from './doors/usage-records.http.ts'
import { createCounterLoader } from './quota/loader.ts'
import type { QuotaStore } from './quota/quota-store.ts'

export type IngestDeps = {
  app: App
  withRawBodies: (app: App, register: (scope: App) => void) => void
  pool: Pool
  writer: EventLogWriter
  quota: QuotaStore
  usage: ClickHouseStore
  enforceQuota: boolean
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

export function buildIngest(deps: IngestDeps): Ingest {
  const { app, pool, writer, quota, usage, logger, metrics, now } = deps
  const config = createConfigCache({ pool, now })
  const batcher = createBatcher(writer, DEFAULT_BATCHER_LIMITS)
  const loadCounters = createCounterLoader({ quota, usage, writer, drain: batcher.drain, now })
  const recorder = createUsageRecorder({
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
  const accept = {
    config,
    batcher,
    partitions: writer.partitions,
    quota,
    loadCounters,
    enforceQuota: deps.enforceQuota,
    now,
  }
  const admission = createAdmission(ADMITTED_BYTES)
  eventsDoor(app, { accept, recorder, admission, withRawBodies: deps.withRawBodies })
  eventTypesDoor(app, { pool, config, now })
  quotaDoor(app, { pool, config, now })
  usageRecordsDoor(app, { pool, accept, recorder })
  settingsDoor(app, { pool, config, now })
  openmeterEventsDoor(app, { pool, accept, recorder, admission, withRawBodies: deps.withRawBodies })
  const corrected = createCorrectionCounter(metrics)
  correctionsDoor(app, { config, batcher, partitions: writer.partitions, now, pool, usage, writer, corrected })
  const reverts = backfillsDoor(app, { ...deps, accept, recorder, admission })
  const inputs = kafkaDoor(deps, { accept, recorder, admission })
  return {
    start: async () => {
      reverts.start()
      inputs?.start()
    },
    stop: async () => {
      await inputs?.stop()
      await reverts.stop()
      await batcher.drain()
      await quota.close()
    },
    configChanged: (table, tenant) => {
      if (table === '*' || table === 'kafka_inputs') inputs?.look()
      if (table === '*') config.invalidate()
      else if (['event_types', 'meters', 'quota_limits', 'tenant_settings'].includes(table)) config.invalidate(tenant)
    },
  }
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
