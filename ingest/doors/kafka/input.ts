import type { TenantId } from '../../../schemas/http/door.ts'
import type { AvroMapping } from './avro-event.ts'

/** A topic that the tenant's own producers write. Its records are the tenant's: nothing in them says whose they are. */
export type KafkaInput = {
  topic: string
  /** For `avro`, the schemas whose ids records may have. */
  format: 'json' | 'avro'
  schemas: readonly AvroMapping[]
  /** Events may be older than 35 days. */
  backfill: boolean
  /** Nothing is read; what comes meanwhile is read afterwards. */
  paused: boolean
}
export type TenantInput = KafkaInput & { tenantId: TenantId; tenantSlug: string }

/** A record as it lies in the topic. */
export type InputRecord = { offset: number; value: Buffer; headers: ReadonlyMap<string, string> }

/** Where records come from. A topic made anew under the same name has another id. */
export type InputPlace = { topicId: string; partition: number }

/** Why something was not taken: codes are stable. */
export type RecordFault = { code: string; path: string; message: string }

/** What is kept of what was refused. */
export const MOST_EXCERPT_BYTES = 2_048

/** A copy: as a part of it, it would keep all of it in memory. */
export function excerptOf(value: Buffer): { excerpt: Buffer; valueBytes: number } {
  return { excerpt: Buffer.from(value.subarray(0, MOST_EXCERPT_BYTES)), valueBytes: value.length }
}

const NAME = /^[a-zA-Z0-9._-]+$/
const LONGEST_TOPIC = 249

/**
 * Why a tenant may not have the topic. Its name begins with the tenant's own prefix, so no tenant can claim another's, nor
 * the event log, and a rule of the brokers' access list (prefixed, write) says whose producers may write it.
 */
export function topicFault(topic: string, prefix: string, tenantSlug: string): string | undefined {
  const own = `${prefix}${tenantSlug}.`
  if (!topic.startsWith(own) || topic.length === own.length) return `must begin with ${own} and go on after it`
  if (topic.length > LONGEST_TOPIC || !NAME.test(topic))
    return `must be at most ${LONGEST_TOPIC} letters, digits, dots, underscores and dashes`
  return undefined
}
