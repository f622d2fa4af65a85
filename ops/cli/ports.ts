import type { Logger } from 'pino'
import { createKafkaLogReader } from '../../aggregator/pump/event-log.kafka.ts'
import { createLmdbLogReader } from '../../aggregator/pump/event-log.lmdb.ts'
import type { EventLogReader } from '../../aggregator/pump/event-log.ts'
import { afterEndedLogs } from '../../ingest/append/ended-logs.ts'
import { createKafkaLogWriter } from '../../ingest/append/event-log.kafka.ts'
import { createLmdbLogWriter } from '../../ingest/append/event-log.lmdb.ts'
import type { EventLogWriter } from '../../ingest/append/event-log.ts'
import { createLmdbBillingCache } from '../../ingest/billing-cache/billing-cache.lmdb.ts'
import { createRedisBillingCache } from '../../ingest/billing-cache/billing-cache.redis.ts'
import type { BillingCache } from '../../ingest/billing-cache/billing-cache.ts'
import { createLmdbQuotaStore } from '../../ingest/quota/quota-store.lmdb.ts'
import { createRedisQuotaStore, openRedis, redisReady } from '../../ingest/quota/quota-store.redis.ts'
import type { QuotaStore } from '../../ingest/quota/quota-store.ts'
import { createClickHouseEventReader } from '../../invoicer/billing/explain/events.clickhouse.ts'
import type { EventReader } from '../../invoicer/billing/explain/events.ts'
import type { Progress } from '../../invoicer/billing/run/steps.ts'
import { createClickHouseUsageReader } from '../../invoicer/billing/usage.clickhouse.ts'
import type { UsageReader } from '../../invoicer/billing/usage.ts'
import { manualGateway } from '../../invoicer/collection/payments/gateway.manual.ts'
import type { Gateway } from '../../invoicer/collection/payments/gateway.ts'
import type { ClickHouseStore } from '../../schemas/clickhouse/store.ts'
import { openTopic } from '../../schemas/event/topic.kafka.ts'
import type { TenantId } from '../../schemas/http/door.ts'
import { activeLog, type EventLogTopic } from '../migrate/migrate.kafka.ts'
import type { KafkaSettings, Role } from './settings.ts'
import type { Stores, StoresOptions } from './stores.ts'
import type { Undo } from './undo.ts'

/** What stands between the roles and the world. Those of roles that do not run here are not opened. */
export type Ports = {
  writer: EventLogWriter | undefined
  quota: QuotaStore | undefined
  /** Beside the counters. */
  billingCache: BillingCache | undefined
  reader: EventLogReader | undefined
  /** Of logs that the present one followed. */
  endedReaders: EventLogReader[]
  /** Of the pump, rebuilds and seals. */
  store: ClickHouseStore
  /** Of whoever asks. */
  reads: ClickHouseStore
  usage: UsageReader
  /** What was sent, past the rollups. */
  events: EventReader
  gateway: Gateway
  progressOf: ((tenantId: TenantId, runId: string) => Progress) | undefined
}

/** Partitions of the embedded log: more only makes records smaller, fewer leaves the paths of many untested. */
const EMBEDDED_PARTITIONS = 4
/** Its members share the partitions among aggregators. A group a log: each is shared by those who read it. */
const groupOf = (topic: string) => `tallyline-aggregators-${topic}`

export async function openPorts(options: StoresOptions, stores: Stores, now: () => number, undo: Undo): Promise<Ports> {
  const runs = (role: Role) => options.roles.includes(role)
  const { store, reads } = stores
  const counters = runs('ingest') ? await openQuota(options, stores, now, undo) : undefined
  return {
    writer: runs('ingest') ? await openWriter(stores, now, undo) : undefined,
    quota: counters?.quota,
    billingCache: counters?.billingCache,
    reader: runs('aggregator') ? openReader(options, stores) : undefined,
    endedReaders: runs('aggregator') ? openEndedReaders(options, stores) : [],
    store,
    reads,
    usage: createClickHouseUsageReader(reads),
    events: createClickHouseEventReader(reads),
    gateway: manualGateway,
    progressOf: undefined,
  }
}

async function openWriter(
  { kafka, lmdb, pool, reads }: Stores,
  now: () => number,
  undo: Undo,
): Promise<EventLogWriter> {
  if (kafka) {
    const writer = createKafkaLogWriter({ brokers: kafka.brokers, ...kafka.log })
    await writer.connect()
    undo.add(() => writer.close())
    const ended = kafka.endedLogs.map(({ topic, partitions }) => {
      const { ends, close } = openTopic(kafka.brokers, topic, partitions)
      undo.add(close)
      return { logId: topic, ends }
    })
    return afterEndedLogs(writer, ended, reads, async () => (await activeLog(pool))?.topic)
  }
  const { log, logId } = there(lmdb)
  return createLmdbLogWriter(log, logId, EMBEDDED_PARTITIONS, now)
}

function openReader({ kafka: settings, logger }: StoresOptions, { kafka, lmdb }: Stores): EventLogReader {
  if (kafka) {
    const { log, brokers } = kafka
    return openKafkaReader(log, brokers, settings, logger)
  }
  const { log, logId } = there(lmdb)
  return createLmdbLogReader(log, logId, EMBEDDED_PARTITIONS)
}

function openEndedReaders({ kafka: settings, logger }: StoresOptions, { kafka }: Stores): EventLogReader[] {
  return kafka?.endedLogs.map((log) => openKafkaReader(log, kafka.brokers, settings, logger)) ?? []
}

function openKafkaReader(log: EventLogTopic, brokers: string[], settings: KafkaSettings, logger: Logger) {
  const { sessionTimeoutMs, clockMarginMs } = settings
  const groupId = groupOf(log.topic)
  return createKafkaLogReader({ brokers, ...log, groupId, sessionTimeoutMs, clockMarginMs }, logger)
}

/**
 * Ingest needs its counters, as it needs the log: a Redis that does not answer at the start ends it with a sentence. One
 * that goes away later is waited for: limits are closed meanwhile, and the role is not ready.
 */
async function openQuota(
  { servers: { redisUrl }, logger }: StoresOptions,
  { lmdb }: Stores,
  now: () => number,
  undo: Undo,
): Promise<{ quota: QuotaStore; billingCache: BillingCache }> {
  if (!redisUrl) {
    const db = there(lmdb).quota
    return { quota: createLmdbQuotaStore(db, now), billingCache: createLmdbBillingCache(db, now) }
  }
  const client = openRedis(redisUrl, { onError: (error) => logger.warn({ error }, 'Redis is away') })
  const quota = createRedisQuotaStore(client, logger)
  undo.add(() => quota.close())
  await redisReady(client, redisUrl)
  return { quota, billingCache: createRedisBillingCache(client) }
}

function there<T>(opened: T | undefined): T {
  if (opened === undefined) throw new Error('A store that a role needs was not opened: this is a bug in openStores')
  return opened
}
