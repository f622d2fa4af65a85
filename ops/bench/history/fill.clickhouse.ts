import { randomUUID } from 'node:crypto'
import { v7 } from 'uuid'
import { insertRecords } from '../../../aggregator/pump/insert.clickhouse.ts'
import type { ClickHouseStore } from '../../../schemas/clickhouse/store.ts'
import { SHARD_SLICE_MS, shardOf } from '../../../schemas/event/identity.ts'
import { encodeBatch, type LogRow } from '../../../schemas/event/usage-batch.avro.ts'
import { encodeEvent } from '../../../schemas/event/usage-event.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import { EVENT_TYPE, SOURCE } from '../events.ts'
import { CUSTOMER_PREFIX, CUSTOMERS, eventsIn, type Span, sliceStartMs } from './span.ts'

/** A statement makes so many at most: memory stays bounded and a part is not small. */
const EVENTS_PER_INSERT = 2_000_000
/** As many as the embedded log has: each is a mark of its own. */
const PARTITIONS = 4
const MARKS_PER_INSERT = 20_000
const NO_CUSTOMER = 'heartbeat'

/**
 * Stores the events of a span in ClickHouse without a log: (1) they are made there, from numbers; (2) one more event a
 * slice and partition comes as the pump stores it, so that slices are marked in the product's own way. Nothing is
 * rebuilt yet.
 */
export async function fillSpan(store: ClickHouseStore, tenant: TenantId, span: Span): Promise<void> {
  const slicesPerInsert = Math.max(Math.floor(EVENTS_PER_INSERT / span.eventsPerSlice), 1)
  for (let slice = 0; slice < span.slices; slice += slicesPerInsert) {
    const slices = Math.min(slicesPerInsert, span.slices - slice)
    await makeEvents(store, tenant, span, slice * span.eventsPerSlice, slices * span.eventsPerSlice)
  }
  await markSlices(store, tenant, span)
}

/** The rows that the pump would have written of these events; `place` counts within the span. */
function makeEvents(store: ClickHouseStore, tenant: TenantId, span: Span, from: number, count: number): Promise<void> {
  return store.command(
    `INSERT INTO events
       (tenant, shard, source, id, payload, type, subject, time, time_given, data, known_at, version)
     SELECT
       {tenant:UInt32}, toUInt64(intDiv(ms, ${SHARD_SLICE_MS}) * 4096), '${SOURCE}', id,
       reinterpretAsUInt128(sipHash128Reference('${EVENT_TYPE}', subject, data, ms)),
       '${EVENT_TYPE}', subject, fromUnixTimestamp64Milli(ms, 'UTC'), true, data,
       fromUnixTimestamp64Milli(known_ms, 'UTC'),
       bitNot(bitShiftLeft(toUInt128(known_ms), 84)
         + bitShiftLeft(toUInt128(intDiv(event, 100) % ${PARTITIONS}), 64)
         + bitShiftLeft(toUInt128(intDiv(event, 100)), 20) + toUInt128(event % 100))
     FROM (
       SELECT
         event,
         ms,
         ms + 100 AS known_ms,
         '${CUSTOMER_PREFIX}' || toString(event % ${CUSTOMERS}) AS subject,
         '{"context_tokens":' || toString(200 + event % 4000)
           || ',"generated_tokens":' || toString(1 + event % 500) || '}' AS data,
         lower(hex(toUInt64(ms))) AS stamp,
         lower(hex(sipHash128({tenant:UInt32}, event))) AS noise,
         substring(stamp, 1, 8) || '-' || substring(stamp, 9, 4) || '-7' || substring(noise, 1, 3)
           || '-8' || substring(noise, 4, 3) || '-' || substring(noise, 7, 12) AS id
       FROM (
         SELECT
           toInt64(number) + {first:Int64} AS event,
           intDiv(toInt64(floor({span:Int64} + intDiv(number, {each:UInt64}) * {step:Float64})), ${SHARD_SLICE_MS})
             * ${SHARD_SLICE_MS} + toInt64(intDiv((number % {each:UInt64}) * ${SHARD_SLICE_MS}, {each:UInt64})) AS ms
         FROM numbers({from:UInt64}, {count:UInt64})
       )
     )`,
    { tenant, first: span.first, span: span.fromMs, step: span.stepMs, each: span.eventsPerSlice, from, count },
  )
}

async function markSlices(store: ClickHouseStore, tenant: TenantId, span: Span): Promise<void> {
  const log = `history-${randomUUID()}`
  let rows: LogRow[] = []
  for (let slice = 0; slice < span.slices; slice++) {
    const timeMs = sliceStartMs(span, slice)
    for (let partition = 0; partition < PARTITIONS; partition++) {
      const batch = encodeBatch([heartbeat(tenant, timeMs)])
      rows.push({ knownAtMs: timeMs + SHARD_SLICE_MS, partition, offset: slice, batch })
    }
    if (rows.length < MARKS_PER_INSERT) continue
    await insertRecords(store, log, rows)
    rows = []
  }
  await insertRecords(store, log, rows)
}

/** Of no customer. */
function heartbeat(tenant: TenantId, timeMs: number): Buffer {
  const identity = { tenant, source: SOURCE, id: v7({ msecs: timeMs }) }
  const data = JSON.stringify({ context_tokens: 0, generated_tokens: 0 })
  const event = { ...identity, shard: shardOf(identity), type: EVENT_TYPE, subject: NO_CUSTOMER }
  return encodeEvent({ ...event, timeMs, timeGiven: true, data })
}

/** All that `fillSpan` stores of a span: its events, and one a mark. */
export function eventsStored(span: Span): number {
  return eventsIn(span) + span.slices * PARTITIONS
}
