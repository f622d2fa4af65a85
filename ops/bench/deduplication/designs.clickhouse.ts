import { pino } from 'pino'
import { copyVersion } from '../../../aggregator/meters/meter.clickhouse.ts'
import { defineMeter } from '../../../aggregator/meters/meter.ts'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import { rebuildTenant } from '../../../aggregator/rebuild/rebuild.ts'
import { withUsage } from '../../../schemas/clickhouse/exact-usage.clickhouse.ts'
import { type ClickHouseParams, type ClickHouseStore, KNOWN_UNTIL_NOW_MS } from '../../../schemas/clickhouse/store.ts'
import { encodeLogRows, type LogRow } from '../../../schemas/event/usage-batch.avro.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import { EVENT_TYPE } from '../events.ts'

/** A way to count each identity once. `usage` is the sum of context_tokens a subject, exact as of the last insert. */
export type Design = {
  store(rows: readonly LogRow[], nowMs: number): Promise<void>
  usage(): Promise<Map<string, string>>
}
export const DESIGNS = ['identity shards', 'minute rebuild at every insert', 'FINAL on read'] as const
export type DesignName = (typeof DESIGNS)[number]

const REBUILD_EVERY_MS = 60_000
const DURABLE = 'SETTINGS fsync_after_insert = 1, fsync_part_directory = 1'
const VALUE = "toDecimal128(JSONExtractRaw(data, 'context_tokens'), 12)"

export function openDesign(name: DesignName, store: ClickHouseStore, tenant: TenantId): Promise<Design> {
  if (name === 'identity shards') return identityShards(store, tenant)
  return name === 'FINAL on read' ? finalOnRead(store) : minuteRebuild(store)
}

/** Ours, by the product's own code: a slice is rebuilt once it has closed, what is open is read from events. */
async function identityShards(store: ClickHouseStore, tenant: TenantId): Promise<Design> {
  const meter = defineMeter('context_tokens', { event_type: EVENT_TYPE, aggregation: 'sum', value: 'context_tokens' })
  await copyVersion(store, tenant, { ...meter, version: 1, effectiveFromMs: 0, revision: 1 })
  let rebuiltMs = 0
  let run = 0
  return {
    store: async (rows, nowMs) => {
      await insertRecords(store, 'bench', rows)
      if (nowMs - rebuiltMs < REBUILD_EVERY_MS) return
      rebuiltMs = nowMs
      await rebuildTenant({ store, logger: pino({ level: 'silent' }), now: () => nowMs, random20: () => run++ }, tenant)
    },
    usage: () =>
      withUsage(store, { tenant, meters: ['context_tokens'], asOfMs: KNOWN_UNTIL_NOW_MS }, (usageOf) => {
        const { sql, params } = usageOf({ subjects: 'everything' })
        return bySubject(store, `SELECT subject, toString(sum(quantity)) AS used FROM ${sql} GROUP BY subject`, params)
      }),
  }
}

/** Events lie by their minute; every insert counts the minutes it touched anew and replaces their rows. */
async function minuteRebuild(store: ClickHouseStore): Promise<Design> {
  await store.command(`CREATE TABLE minute_events (minute DateTime('UTC'), source String, id String, subject String,
    data String) ENGINE = ReplacingMergeTree ORDER BY (minute, source, id) ${DURABLE}`)
  await store.command(`CREATE TABLE minute_usage (minute DateTime('UTC'), subject String, quantity Decimal(38, 12),
    version UInt64) ENGINE = ReplacingMergeTree(version) ORDER BY (minute, subject) ${DURABLE}`)
  let version = 0
  return {
    store: (rows) => {
      version++
      return store.insertAvro(encodeLogRows(rows), [
        (source) => `INSERT INTO minute_events
          SELECT toStartOfMinute(event.time), event.source, event.id, event.subject, event.data ${eventsOf(source)}`,
        (source) => `INSERT INTO minute_usage
          SELECT minute, subject, sum(${VALUE}), ${version} FROM minute_events FINAL
          WHERE minute IN (SELECT DISTINCT toStartOfMinute(event.time) ${eventsOf(source)})
          GROUP BY minute, subject`,
      ])
    },
    usage: () =>
      bySubject(store, 'SELECT subject, toString(sum(quantity)) AS used FROM minute_usage FINAL GROUP BY subject'),
  }
}

/** Nothing is prepared: every question removes the copies of everything. */
async function finalOnRead(store: ClickHouseStore): Promise<Design> {
  await store.command(`CREATE TABLE final_events (source String, id String, time DateTime64(3, 'UTC'), subject String,
    data String) ENGINE = ReplacingMergeTree ORDER BY (source, id) ${DURABLE}`)
  return {
    store: (rows) =>
      store.insertAvro(encodeLogRows(rows), [
        (source) => `INSERT INTO final_events
          SELECT event.source, event.id, event.time, event.subject, event.data ${eventsOf(source)}`,
      ]),
    usage: () =>
      bySubject(store, `SELECT subject, toString(sum(${VALUE})) AS used FROM final_events FINAL GROUP BY subject`),
  }
}

function eventsOf(source: string): string {
  return `FROM (SELECT tupleElement(batch, 'events') AS events FROM ${source}) ARRAY JOIN events AS event`
}

async function bySubject(store: ClickHouseStore, sql: string, params: ClickHouseParams = {}) {
  const rows = await store.query<{ subject: string; used: string }>(sql, params)
  return new Map(rows.map(({ subject, used }) => [subject, used]))
}
