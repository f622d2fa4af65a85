import type { TenantTransaction } from '../../../schemas/postgres/tenant.postgres.ts'
import { type InputPlace, MOST_EXCERPT_BYTES } from './input.ts'

/** What was not taken: an event of a record by its index, or all of the record, or of several of them (-1). */
export type Rejection = {
  offset: number
  eventIndex: number
  lastOffset: number
  /** How many events it stands for; a record that could not be read is one. */
  events: number
  eventId: string | undefined
  code: string
  path: string
  message: string
  excerpt: Buffer
  valueBytes: number
}

const MOST_TEXT_LENGTH = 500

/** Those of the offsets from `first` on and before `next` are as if they had never been found. */
export async function forgetRejections(
  tx: TenantTransaction,
  topic: string,
  { topicId, partition }: InputPlace,
  { first, next }: { first: number; next: number },
): Promise<void> {
  await tx.query(
    `DELETE FROM kafka_input_rejections
     WHERE topic = $1 AND topic_id = $2 AND partition = $3 AND record_offset >= $4 AND record_offset < $5`,
    [topic, topicId, partition, first, next],
  )
}

export async function storeRejections(
  tx: TenantTransaction,
  topic: string,
  { topicId, partition }: InputPlace,
  rejections: readonly Rejection[],
  at: Date,
): Promise<void> {
  await tx.query(
    `INSERT INTO kafka_input_rejections (tenant_id, topic, topic_id, partition, record_offset, event_index, last_offset,
       events, event_id, code, path, message, excerpt, value_bytes, rejected_at)
     SELECT app_tenant(), $1, $2, $3, record_offset, event_index, last_offset, events, event_id, code, path, message,
       excerpt, value_bytes, $4
     FROM unnest($5::bigint[], $6::int[], $7::bigint[], $8::int[], $9::text[], $10::text[], $11::text[], $12::text[],
       $13::bytea[], $14::int[]) AS rejection
       (record_offset, event_index, last_offset, events, event_id, code, path, message, excerpt, value_bytes)
     ON CONFLICT DO NOTHING`,
    [
      ...[topic, topicId, partition, at],
      rejections.map(({ offset }) => offset),
      rejections.map(({ eventIndex }) => eventIndex),
      rejections.map(({ lastOffset }) => lastOffset),
      rejections.map(({ events }) => events),
      rejections.map(({ eventId }) => (eventId === undefined ? null : storable(eventId))),
      rejections.map(({ code }) => code),
      rejections.map(({ path }) => storable(path)),
      rejections.map(({ message }) => storable(message)),
      rejections.map(({ excerpt }) => excerpt.subarray(0, MOST_EXCERPT_BYTES)),
      rejections.map(({ valueBytes }) => valueBytes),
    ],
  )
}

/** Postgres has no zero character; and a path may be as long as its sender made it. */
function storable(text: string): string {
  return text.slice(0, MOST_TEXT_LENGTH).replaceAll('\0', '\uFFFD')
}

/** The last offset of each partition that anything was rejected at. */
export async function lastRejected(
  tx: TenantTransaction,
  topic: string,
  topicId: string,
): Promise<Map<number, number>> {
  const { rows } = await tx.query<{ partition: number; offset: string }>(
    `SELECT partition, max(last_offset) AS offset FROM kafka_input_rejections
     WHERE topic = $1 AND topic_id = $2 GROUP BY partition`,
    [topic, topicId],
  )
  return new Map(rows.map(({ partition, offset }) => [partition, Number(offset)]))
}

export type ListedRejection = Omit<Rejection, 'eventId'> & InputPlace & { eventId: string | null; rejectedAt: Date }
export type RejectionPlace = [topicId: string, partition: number, offset: number, eventIndex: number]

/** In the order of their places. */
export async function listRejections(
  tx: TenantTransaction,
  topic: string,
  { limit, after }: { limit: number; after: RejectionPlace | undefined },
): Promise<ListedRejection[]> {
  const { rows } = await tx.query<ListedRejection>(
    `SELECT topic_id AS "topicId", partition, record_offset::float8 AS offset, event_index AS "eventIndex",
       last_offset::float8 AS "lastOffset", events, event_id AS "eventId", code, path, message, excerpt,
       value_bytes AS "valueBytes", rejected_at AS "rejectedAt"
     FROM kafka_input_rejections
     WHERE topic = $1 AND ($3::uuid IS NULL
       OR (topic_id, partition, record_offset, event_index) > ($3::uuid, $4::int, $5::bigint, $6::int))
     ORDER BY topic_id, partition, record_offset, event_index LIMIT $2`,
    [topic, limit, ...(after ?? [null, null, null, null])],
  )
  return rows
}
