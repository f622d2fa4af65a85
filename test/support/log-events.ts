import { partitionOf, shardOf } from '../../schemas/event/identity.ts'
import { encodeBatch, type LogRow } from '../../schemas/event/usage-batch.avro.ts'
import { encodeEvent, type UsageEvent } from '../../schemas/event/usage-event.ts'

export const NOVEMBER_20 = Date.UTC(2026, 10, 20, 12)

/** An event as the edge would encode it; `data` as an object. */
export type EventChange = Partial<Omit<UsageEvent, 'data' | 'shard'>> & { data?: object }

export function usageEvent(id: string, change: EventChange = {}): UsageEvent {
  const { data, ...rest } = change
  const event = {
    tenant: 1,
    source: 'test',
    id,
    type: 'llm.request',
    subject: 'customer-1',
    timeMs: NOVEMBER_20,
    timeGiven: true,
    ...rest,
  }
  return { ...event, shard: shardOf(event), data: JSON.stringify(data ?? { tokens: 1 }) }
}

export function batchOf(events: readonly UsageEvent[]): Buffer {
  return encodeBatch(events.map(encodeEvent))
}

/** A record of each event's partition as it would lie in the log. */
export function recordsOf(events: readonly UsageEvent[], partitions: number): { partition: number; record: Buffer }[] {
  return Array.from({ length: partitions }, (_, partition) => ({
    partition,
    record: events.filter((event) => partitionOf(event, partitions) === partition),
  }))
    .filter(({ record }) => record.length > 0)
    .map(({ partition, record }) => ({ partition, record: batchOf(record) }))
}

/** One log row holding the events. */
export function logRow(events: readonly UsageEvent[], place: Partial<Omit<LogRow, 'batch'>> = {}): LogRow {
  return { knownAtMs: NOVEMBER_20, partition: 0, offset: 0, ...place, batch: batchOf(events) }
}
