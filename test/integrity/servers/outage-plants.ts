import type { EventLogReader } from '../../../aggregator/pump/event-log.ts'
import type { EventLogWriter } from '../../../ingest/append/event-log.ts'
import type { QuotaStore } from '../../../ingest/quota/quota-store.ts'
import type { Ports } from '../../../ops/cli/ports.ts'
import { createLogger } from '../../../ops/host/logger.ts'
import { openClickHouse } from '../../../ops/stores/clickhouse-http.clickhouse.ts'
import { openKafka } from '../../../ops/stores/kafka.kafka.ts'
import { changeView } from '../planted-views.ts'

/** Bugs that an outage must bring to light, each in the port that meets the outage. */
export type OutagePlant = 'acknowledge-unheard' | 'commit-on-read' | 'load-nothing' | 'forget-ended-logs'

export function outagePorts(ports: Ports, plant: OutagePlant, brokers: string[]): Ports {
  const { writer, reader, quota } = ports
  switch (plant) {
    case 'acknowledge-unheard':
      return { ...ports, writer: writer && unheardWriter(writer, brokers) }
    case 'commit-on-read':
      return { ...ports, reader: reader && committingReader(reader) }
    case 'load-nothing':
      return { ...ports, quota: quota && emptyCounters(quota) }
    case 'forget-ended-logs':
      return { ...ports, endedReaders: [] }
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
  return {
    ...quota,
    load: (uses, nowMs) =>
      quota.load(
        uses.map(({ counter }) => ({ counter, usedMicro: 0n })),
        nowMs,
      ),
  }
}

/** In the views that count: every stored row is an identity of its own. */
export const EACH_ROW = {
  from: ['(SELECT *, startsWith(type', '(SELECT *, _part, _part_offset, startsWith(type'],
  group: ['GROUP BY tenant, shard, source, id\n', 'GROUP BY tenant, shard, source, id, _part, _part_offset\n'],
  first: ['LIMIT 1 BY tenant, shard, source, id\n', 'LIMIT 1 BY tenant, shard, source, id, _part, _part_offset\n'],
} as const

/**
 * Events are added, not brought together: neither by their table, which begins empty, nor by whoever reads it. No shard
 * ever gets a head, so all are read from their events: a rollup would not show what is stored later at the same places.
 */
export async function addUpEvents(clickhouseUrl: string): Promise<void> {
  const store = openClickHouse(clickhouseUrl)
  await changeView(store, [EACH_ROW.from, EACH_ROW.group, EACH_ROW.first])
  await store.command('CREATE TABLE added AS events ENGINE = MergeTree ORDER BY (tenant, shard, source, id, payload)')
  await store.command('CREATE TABLE no_heads AS shard_heads ENGINE = Null')
  for (const [planted, name] of [
    ['added', 'events'],
    ['no_heads', 'shard_heads'],
  ]) {
    await store.command(`DROP TABLE ${name}`)
    await store.command(`RENAME TABLE ${planted} TO ${name}`)
  }
  await store.close()
}
