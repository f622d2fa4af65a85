import { v7 } from 'uuid'
import type { EncodedEvent } from '../../../ingest/append/batcher.ts'
import { partitionOf, shardOf } from '../../../schemas/event/identity.ts'
import { encodeEvent } from '../../../schemas/event/usage-event.ts'
import type { TenantId } from '../../../schemas/http/door.ts'
import { dataOf, EVENT_TYPE, SOURCE, subjectOf } from '../events.ts'

/** One insert's worth: ten seconds of traffic, some of it copies of what was sent in the minute before. */
export type Slice = { nowMs: number; events: EncodedEvent[] }
export type Traffic = { slices: number; eventsPerSlice: number; copiesPercent: number }

const SLICE_MS = 10_000
/** Emitters try again within about a minute. */
const SLICES_TO_COPY_FROM = 6

/** UUIDv7 in the order of time; every hundredth (or tenth) event is a copy of an earlier one, byte for byte. */
export function* trafficOf({ slices, eventsPerSlice, copiesPercent }: Traffic, tenant: TenantId, endMs: number) {
  const recent: EncodedEvent[][] = []
  for (let slice = 0; slice < slices; slice++) {
    const startMs = endMs - (slices - slice) * SLICE_MS
    const fresh: EncodedEvent[] = []
    const events = Array.from({ length: eventsPerSlice }, (_, index) => {
      const earlier = recent[(slice + index) % SLICES_TO_COPY_FROM]
      const copy = (index * copiesPercent) % 100 < copiesPercent ? earlier?.[index % (earlier.length || 1)] : undefined
      if (copy) return copy
      const event = newEvent(tenant, slice * eventsPerSlice + index, startMs + (index % SLICE_MS))
      fresh.push(event)
      return event
    })
    recent.push(fresh)
    if (recent.length > SLICES_TO_COPY_FROM) recent.shift()
    yield { nowMs: startMs + SLICE_MS, events } satisfies Slice
  }
}

function newEvent(tenant: TenantId, index: number, timeMs: number): EncodedEvent {
  const identity = { tenant, source: SOURCE, id: v7({ msecs: timeMs }) }
  const encoded = encodeEvent({
    ...identity,
    shard: shardOf(identity),
    type: EVENT_TYPE,
    subject: subjectOf(index),
    timeMs,
    timeGiven: true,
    data: JSON.stringify(dataOf(index)),
  })
  return { partition: partitionOf(identity, 12), encoded }
}
