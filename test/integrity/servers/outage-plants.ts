import type { EventLogReader } from '../../../aggregator/pump/event-log.ts'
import type { EventLogWriter } from '../../../ingest/append/event-log.ts'
import type { QuotaStore } from '../../../ingest/quota/quota-store.ts'
import type { Ports } from '../../../ops/cli/ports.ts'
import { createLogger } from '../../../ops/host/logger.ts'
import { statementsOf } from '../../../ops/migrate/migrate.clickhouse.ts'
import { openClickHouse } from '../../../ops/stores/clickhouse-http.clickhouse.ts'
import { openKafka } from '../../../ops/stores/kafka.kafka.ts'
import { schemaFile } from '../../../schemas/files.ts'

/** Bugs that an outage must bring to light, each in the port that meets the outage. */
export type OutagePlant = 'acknowledge-unheard' | 'commit-on-read' | 'load-nothing'

export function outagePorts(ports: Ports, plant: OutagePlant, brokers: string[]): Ports {
  const { writer, reader, quota } = ports
  switch (plant) {
    case 'acknowledge-unheard':
      return { ...ports, writer: writer && unheardWriter(writer, brokers) }
    case 'commit-on-read':
      return { ...ports, reader: reader && committingReader(reader) }
    case 'load-nothing':
      return { ...ports, quota: quota && emptyCounters(quota) }
  }
}

/** Sends and does not wait for the broker's word. */
function unheardWriter(writer: EventLogWriter, brokers: string[]): EventLogWriter {
  const kafka = openKafka(brokers, createLogger({ level: 'silent' }))
  const producer = kafka.producer({ allowAutoTopicCreation: false, retry: { retries: 0 } })
  const connected = producer.connect()
  return {
    ...writer,
    append: async (records) => {
      await connected
      const messages = records.map(({ partition, record }) => ({ partition, value: record }))
      producer.send({ topic: writer.logId, messages, acks: 0 }).catch(() => undefined)
    },
  }
}

/** Moves on with what it hands out, as a consumer does that commits by itself: what was not stored does not come again. */
function committingReader(reader: EventLogReader): EventLogReader {
  const next: number[] = []
  return {
    ...reader,
    read: async (nextOffsets, maxBytes) => {
      const wanted = nextOffsets.map((offset, partition) =>
        offset === undefined ? undefined : Math.max(offset, next[partition] ?? 0),
      )
      const rows = await reader.read(wanted, maxBytes)
      for (const { partition, offset } of rows) next[partition] = Math.max(next[partition] ?? 0, offset + 1)
      return rows
    },
  }
}

/** A counter that is not there begins at zero. */
function emptyCounters(quota: QuotaStore): QuotaStore {
  return { ...quota, load: (counter, _used, nowMs) => quota.load(counter, 0n, nowMs) }
}

/** In usage_rows: every stored row is an identity of its own. */
export const EACH_ROW = {
  from: ['(SELECT *, startsWith(type', '(SELECT *, _part, _part_offset, startsWith(type'],
  group: ['GROUP BY tenant, shard, source, id\n', 'GROUP BY tenant, shard, source, id, _part, _part_offset\n'],
} as const

/** Events are added, not brought together: neither by their table nor by whoever reads it. The table begins empty. */
export async function addUpEvents(clickhouseUrl: string): Promise<void> {
  const view = statementsOf(schemaFile('clickhouse/0005-usage-views.sql')).find((sql) => sql.includes(' usage_rows AS'))
  const adding = view
    ?.replace(...EACH_ROW.from)
    .replace(...EACH_ROW.group)
    .replace('WHERE dirty\n', 'WHERE true OR dirty\n')
  if (!adding?.includes(EACH_ROW.from[1]) || !adding.includes(EACH_ROW.group[1]) || !adding.includes('true OR'))
    throw new Error('usage_rows has another text now')
  const store = openClickHouse(clickhouseUrl)
  await store.command('CREATE TABLE added AS events ENGINE = MergeTree ORDER BY (tenant, shard, source, id, payload)')
  for (const sql of ['DROP TABLE events', 'RENAME TABLE added TO events', 'DROP VIEW usage_rows', adding])
    await store.command(sql)
  await store.close()
}
