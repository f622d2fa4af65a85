import { v7 } from 'uuid'
import type { EncodedEvent } from '../../ingest/append/batcher.ts'
import { partitionOf, shardOf } from '../../schemas/event/identity.ts'
import { encodeEvent } from '../../schemas/event/usage-event.ts'
import type { TenantId } from '../../schemas/http/door.ts'

/** What every figure meters: one request to a language model. */
export const SOURCE = 'bench'
export const EVENT_TYPE = 'llm.request'
export const EVENT_SCHEMA = {
  type: 'record',
  name: 'LlmRequest',
  fields: [
    { name: 'context_tokens', type: 'long' },
    { name: 'generated_tokens', type: 'long' },
  ],
}
export const METERS = ['context_tokens', 'generated_tokens']
const SUBJECTS = 100

export const ALL_SUBJECTS = Array.from({ length: SUBJECTS }, (_, index) => subjectOf(10 * index))

/** Ten events in a row are of one subject: an emitter that sends a hundred at once serves some ten customers. */
export function subjectOf(index: number): string {
  return `customer-${Math.floor(index / 10) % SUBJECTS}`
}

export function dataOf(index: number): { context_tokens: number; generated_tokens: number } {
  return { context_tokens: 200 + (index % 4_000), generated_tokens: 1 + (index % 500) }
}

/** New events as the edge would hand them to the batcher: of this moment, or of the times that are given by place. */
export function encodedEvents(
  count: number,
  tenant: TenantId,
  partitions: number,
  timeMsOf?: (index: number) => number,
): EncodedEvent[] {
  const nowMs = Date.now()
  return Array.from({ length: count }, (_, index) => {
    const timeMs = timeMsOf ? timeMsOf(index) : nowMs
    const identity = { tenant, source: SOURCE, id: timeMsOf ? v7({ msecs: timeMs }) : v7() }
    const encoded = encodeEvent({
      ...identity,
      shard: shardOf(identity),
      type: EVENT_TYPE,
      subject: subjectOf(index),
      timeMs,
      timeGiven: true,
      data: JSON.stringify(dataOf(index)),
    })
    return { partition: partitionOf(identity, partitions), encoded }
  })
}
